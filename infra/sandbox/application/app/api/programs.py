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
records.serve(router, Program)


class NewProgram(BaseModel):
    """A program to be made."""

    name: str = Field(min_length=1, max_length=255)
    description: str | None = None
    sponsor: str | None = Field(default=None, max_length=255)
    health: str | None = Field(default=None, max_length=20)


class ChangedProgram(NewProgram):
    """A program as it shall be, with the version that the caller read."""

    version: int


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
