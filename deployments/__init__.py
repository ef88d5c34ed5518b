"""How flows get started: registration, services, the worker and the `remedy` command."""
