"""Ports of a compose project: what its containers publish, and what leads there."""
