"""The project's own worker: runs nothing but the installed catalogue, each run in a fresh fork."""
