"""Migrations of the schema: pending, rehearsed on a copy, applied to live."""
