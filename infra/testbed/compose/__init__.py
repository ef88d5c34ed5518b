"""Planner as a compose project: shaped as in the field, with the sandbox's application inside."""
