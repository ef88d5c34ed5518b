"""Rows that were written after the backup, carried over into the restored database."""
