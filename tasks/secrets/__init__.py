"""Secrets that are made for a target: no value is ever in a plan."""
