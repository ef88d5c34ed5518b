"""Remediations of the guide's section Application Issues."""
