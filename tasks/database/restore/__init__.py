"""A backup restored beside the live database, proved, and put in its place."""
