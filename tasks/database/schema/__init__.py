"""The schema of a database and its revision, as the application's own Alembic has them."""
