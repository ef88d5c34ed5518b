"""Remediations of the guide's section Network Issues."""
