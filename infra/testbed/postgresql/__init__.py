"""PostgreSQL of every major version that remediations take, from packages."""
