"""What endpoints are given: a session of the database."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session

from app.db.session import SessionLocal


def get_session() -> Iterator[Session]:
    """Give a request its session.

    Yields:
        A session that is closed, and rolled back unless committed, when the request ends.
    """
    with SessionLocal() as session:
        yield session


DatabaseSession = Annotated[Session, Depends(get_session)]
