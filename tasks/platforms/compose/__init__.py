"""The compose platform: a Docker engine and a compose project on it."""
