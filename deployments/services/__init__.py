"""The embedded platform: Prefect's server and its database, the worker, the sandbox."""
