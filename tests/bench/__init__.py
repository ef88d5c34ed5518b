"""Benchmarks: ours beside the guide's own commands, in one run."""
