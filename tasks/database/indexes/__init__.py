"""Indexes: damaged, invalid, missing and unused ones."""
