"""Backups: taken, proved, read, chosen and thinned out."""
