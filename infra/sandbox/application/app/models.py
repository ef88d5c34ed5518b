"""Tables of the application; columns and constraints as in Planner."""

import enum
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Enum, ForeignKey, Numeric, Sequence, String, Text
from sqlalchemy.dialects.postgresql import JSONB, OID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def now() -> datetime:
    """Give the time as the tables keep it: UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class RoleType(enum.StrEnum):
    """Roles; upper case in the database, lower case in the API."""

    ADMIN = "admin"
    PROGRAM_MANAGER = "program_manager"
    PROJECT_MANAGER = "project_manager"
    FINANCE_MANAGER = "finance_manager"
    RESOURCE_MANAGER = "resource_manager"
    VIEWER = "viewer"


class ScopeType(enum.StrEnum):
    """What a role reaches: everything, a program, a project."""

    GLOBAL = "global"
    PROGRAM = "program"
    PROJECT = "project"


class Base(DeclarativeBase):
    """Columns that every table has; none has a default in the database but `version`."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    version: Mapped[int] = mapped_column(default=1, server_default="1")


class User(Base):
    """An account."""

    __tablename__ = "users"
    username: Mapped[str] = mapped_column(String(100), unique=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(default=True)


class UserRole(Base):
    """A role that a user has."""

    __tablename__ = "user_roles"
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    role_type: Mapped[RoleType] = mapped_column(Enum(RoleType, name="roletype"))
    is_active: Mapped[bool] = mapped_column(default=True)


class ScopeAssignment(Base):
    """What a role reaches."""

    __tablename__ = "scope_assignments"
    user_role_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("user_roles.id"), index=True)
    scope_type: Mapped[ScopeType] = mapped_column(Enum(ScopeType, name="scopetype"))
    program_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("programs.id"))
    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id"))
    is_active: Mapped[bool] = mapped_column(default=True)


class Program(Base):
    """A program: projects under one aim."""

    __tablename__ = "programs"
    name: Mapped[str] = mapped_column(String(255), index=True)
    description: Mapped[str | None] = mapped_column(Text)
    sponsor: Mapped[str | None] = mapped_column(String(255))
    health: Mapped[str | None] = mapped_column(String(20), index=True)


class Project(Base):
    """A project of a program."""

    __tablename__ = "projects"
    program_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("programs.id"), index=True)
    name: Mapped[str] = mapped_column(String(255), index=True)
    start_date: Mapped[date | None]
    end_date: Mapped[date | None]
    budget: Mapped[Decimal] = mapped_column(Numeric(14, 2), default=0)


class ProjectPhase(Base):
    """A phase of a project."""

    __tablename__ = "project_phases"
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    position: Mapped[int]


class Worker(Base):
    """A person who works on projects."""

    __tablename__ = "workers"
    external_id: Mapped[str] = mapped_column(String(50), unique=True)
    name: Mapped[str] = mapped_column(String(255))


class Actual(Base):
    """Hours that a worker spent on a project on one day: the bulk of the rows."""

    __tablename__ = "actuals"
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    worker_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("workers.id"), index=True)
    actual_date: Mapped[date] = mapped_column(index=True)
    hours: Mapped[Decimal] = mapped_column(Numeric(5, 2))
    cost: Mapped[Decimal] = mapped_column(Numeric(12, 2))


class AuditLog(Base):
    """What the application changed, and who asked for it."""

    __tablename__ = "audit_logs"
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    entity_type: Mapped[str] = mapped_column(String(100))
    entity_id: Mapped[uuid.UUID] = mapped_column(index=True)
    operation: Mapped[str] = mapped_column(String(50))
    before_values: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    after_values: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class Report(Base):
    """A report asked for; its number comes from a sequence of the database."""

    __tablename__ = "reports"
    number: Mapped[int] = mapped_column(
        BigInteger, Sequence("report_number_seq"), unique=True, index=False
    )
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    state: Mapped[str] = mapped_column(String(20), default="queued")


class Document(Base):
    """A file of a project; its content is a large object of the database."""

    __tablename__ = "documents"
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    content: Mapped[int] = mapped_column(OID)
