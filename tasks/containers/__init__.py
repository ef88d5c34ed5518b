"""Containers: how they are defined, and what they may use."""
