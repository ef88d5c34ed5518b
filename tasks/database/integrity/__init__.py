"""Whether the data of a database holds together."""
