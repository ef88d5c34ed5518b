"""Remediations of the guide's section Docker Issues."""
