"""Disks: what takes room where a target's data lies, and giving it back."""
