"""The machine that a target runs on: its memory, its swap, its configuration."""
