"""Databases beside the live one: made, proved, compared, kept, opened and dropped."""
