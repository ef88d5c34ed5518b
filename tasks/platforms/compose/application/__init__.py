"""The web application of a compose project: its containers, settings and proxy."""
