"""Remediations of the guide's section Database Issues."""
