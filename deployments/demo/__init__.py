"""The demo: a database breaks under load, is restored, and everything is proved."""
