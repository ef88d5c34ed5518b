"""Log-ins of an application: why they fail, and how their password changes."""
