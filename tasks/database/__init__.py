"""Databases: what is looked at, changed and proved in PostgreSQL."""
