"""Images of a compose project: read from its files, built by its engine."""
