"""The sandbox platform: local processes, reached over loopback and the file system."""
