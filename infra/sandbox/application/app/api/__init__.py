"""The application's HTTP endpoints."""
