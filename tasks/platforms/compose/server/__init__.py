"""The database's server of a compose project: its container, and the data in its volume."""
