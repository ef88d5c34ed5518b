"""Print the name of the database that the application's settings lead to."""

import sys

from sqlalchemy import text

from app.db.session import engine

if __name__ == "__main__":
    with engine.connect() as connection:
        sys.stdout.write(f"{connection.scalar(text('SELECT current_database()'))}\n")
