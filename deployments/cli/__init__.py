"""The `remedy` command."""

from deployments.cli.app import app, main

__all__ = ["app", "main"]
