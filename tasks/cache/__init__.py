"""The application's cache and queues."""
