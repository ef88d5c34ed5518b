"""What programs and projects share: endpoints, locks, the audit log."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, status
from fastapi.encoders import jsonable_encoder
from sqlalchemy import func, select
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from app.api.dependencies import DatabaseSession
from app.models import AuditLog, Base, User, now
from app.services import cache
from app.services.authentication import CurrentUser

Limit = Annotated[int, Query(ge=1, le=500)]
Skip = Annotated[int, Query(ge=0)]
Record = Base  # programs and projects alike


def fields(record: Record) -> dict[str, Any]:
    """Give a row's columns as JSON values."""
    columns = {column.key: getattr(record, column.key) for column in record.__table__.columns}
    return dict(jsonable_encoder(columns))


def found(session: Session, model: type[Record], row: uuid.UUID) -> Record:
    """Give a row.

    Raises:
        HTTPException: There is none.
    """
    record = session.get(model, row)
    if record is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"{model.__name__} not found")
    return record


def serve(router: APIRouter, model: type[Record]) -> None:
    """Add the endpoints that are alike for every model: list, read, delete."""

    @router.get("")
    def list_records(
        session: DatabaseSession, _: CurrentUser, skip: Skip = 0, limit: Limit = 50
    ) -> dict[str, Any]:
        """List records, newest first, with the number of all."""
        rows = session.scalars(
            select(model).order_by(model.created_at.desc(), model.id).offset(skip).limit(limit)
        )
        return {
            "items": [fields(row) for row in rows],
            "total": session.scalar(select(func.count()).select_from(model)),
            "skip": skip,
            "limit": limit,
        }

    @router.get("/{row}")
    def read_record(
        row: uuid.UUID,
        session: DatabaseSession,
        _: CurrentUser,
        cache_control: Annotated[str | None, Header()] = None,
    ) -> dict[str, Any]:
        """Read a record, from the cache unless the caller asks to read past it."""
        name = cache.key(model.__tablename__, row)
        fresh = "no-cache" in (cache_control or "").lower()
        cached = None if fresh else cache.get(name)
        if cached is not None:
            return cached
        values = fields(found(session, model, row))
        cache.put(name, values)
        return values

    @router.delete("/{row}", status_code=status.HTTP_204_NO_CONTENT)
    def delete_record(row: uuid.UUID, session: DatabaseSession, user: CurrentUser) -> None:
        """Delete a record and say so in the audit log."""
        record = found(session, model, row)
        _audit(session, user, record, "DELETE", fields(record), None)
        session.delete(record)
        session.commit()
        cache.drop(cache.key(model.__tablename__, row))


def create(session: Session, record: Record, user: User) -> dict[str, Any]:
    """Write a new row and say so in the audit log."""
    session.add(record)
    session.flush()
    values = fields(record)
    _audit(session, user, record, "CREATE", None, values)
    session.commit()
    return values


def update(
    session: Session, record: Record, user: User, version: int, changes: dict[str, Any]
) -> dict[str, Any]:
    """Change a row that nobody changed since the caller read it.

    Raises:
        HTTPException: Somebody did.
    """
    model, before = type(record), fields(record)
    written = session.execute(
        sql_update(model)
        .where(model.id == record.id, model.version == version)
        .values(**changes, version=version + 1, updated_at=now())
        .returning(model.id)
    ).first()
    if written is None:
        raise HTTPException(
            status.HTTP_409_CONFLICT, "The record was changed by another user; read it again"
        )
    session.refresh(record)
    values = fields(record)
    _audit(session, user, record, "UPDATE", before, values)
    session.commit()
    cache.drop(cache.key(model.__tablename__, record.id))
    return values


def _audit(
    session: Session,
    user: User,
    record: Record,
    operation: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    session.add(
        AuditLog(
            user_id=user.id,
            entity_type=type(record).__name__,
            entity_id=record.id,
            operation=operation,
            before_values=before,
            after_values=after,
        )
    )
