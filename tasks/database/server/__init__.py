"""The server of a database: whether it runs, why not, starting and initialising it."""
