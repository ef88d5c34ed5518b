"""The application's database."""
