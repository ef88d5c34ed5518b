"""Programs."""

import uuid
from typing import Any

from fastapi import APIRouter, status
from pydantic import BaseModel, Field

from app.api import records
from app.api.dependencies import DatabaseSession
from app.models import Program
from app.services.authentication import CurrentUser

router = APIRouter(prefix="/programs", tags=["programs"])


class NewProgram(BaseModel):
    """A program to be made."""

    name: str = Field(min_length=1, max_length=255)
    description: str | None = None
    sponsor: str | None = Field(default=None, max_length=255)
    health: str | None = Field(default=None, max_length=20)


class ChangedProgram(NewProgram):
    """A program as it shall be, with the version that the caller read."""

    version: int


@router.get("")
def list_programs(
    session: DatabaseSession, _: CurrentUser, skip: records.Skip = 0, limit: records.Limit = 50
) -> dict[str, Any]:
    """List programs."""
    return records.page(session, Program, skip, limit)


@router.get("/{row}")
def read_program(
    row: uuid.UUID,
    session: DatabaseSession,
    _: CurrentUser,
    cache_control: records.CacheControl = None,
) -> dict[str, Any]:
    """Read a program."""
    return records.read(session, Program, row, cache_control)


@router.post("", status_code=status.HTTP_201_CREATED)
def create_program(
    given: NewProgram, session: DatabaseSession, user: CurrentUser
) -> dict[str, Any]:
    """Make a program."""
    return records.create(session, Program(**given.model_dump()), user)


@router.put("/{row}")
def update_program(
    row: uuid.UUID, given: ChangedProgram, session: DatabaseSession, user: CurrentUser
) -> dict[str, Any]:
    """Change a program."""
    record = records.found(session, Program, row)
    changes = given.model_dump(exclude={"version"}, exclude_unset=True)
    return records.update(session, record, user, given.version, changes)


@router.delete("/{row}", status_code=status.HTTP_204_NO_CONTENT)
def delete_program(row: uuid.UUID, session: DatabaseSession, user: CurrentUser) -> None:
    """Delete a program."""
    records.delete(session, records.found(session, Program, row), user)
