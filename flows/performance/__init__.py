"""Remediations of the guide's section Performance Issues."""
