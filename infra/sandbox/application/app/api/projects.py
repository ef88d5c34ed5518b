"""Projects, and the reports asked for on them."""

import uuid
from datetime import date
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, status
from pydantic import BaseModel, Field

from app.api import records
from app.api.dependencies import DatabaseSession
from app.models import Project, Report
from app.services import cache
from app.services.authentication import CurrentUser

router = APIRouter(prefix="/projects", tags=["projects"])
records.serve(router, Project)


class NewProject(BaseModel):
    """A project to be made."""

    program_id: uuid.UUID
    name: str = Field(min_length=1, max_length=255)
    start_date: date | None = None
    end_date: date | None = None
    budget: Decimal = Decimal(0)


class ChangedProject(NewProject):
    """A project as it shall be, with the version that the caller read."""

    version: int


@router.post("", status_code=status.HTTP_201_CREATED)
def create_project(
    given: NewProject, session: DatabaseSession, user: CurrentUser
) -> dict[str, Any]:
    """Make a project."""
    return records.create(session, Project(**given.model_dump()), user)


@router.put("/{row}")
def update_project(
    row: uuid.UUID, given: ChangedProject, session: DatabaseSession, user: CurrentUser
) -> dict[str, Any]:
    """Change a project."""
    record = records.found(session, Project, row)
    changes = given.model_dump(exclude={"version"}, exclude_unset=True)
    return records.update(session, record, user, given.version, changes)


@router.post("/{row}/reports", status_code=status.HTTP_202_ACCEPTED)
def ask_for_report(row: uuid.UUID, session: DatabaseSession, _: CurrentUser) -> dict[str, Any]:
    """Queue a report on a project."""
    records.found(session, Project, row)
    report = Report(project_id=row)
    session.add(report)
    session.commit()
    waiting = cache.enqueue({"report": str(report.id), "number": report.number})
    return {"id": report.id, "number": report.number, "waiting": waiting}
