"""A Docker engine for tests, and the images of a compose project on it."""
