"""Logging in, and staying so."""

from typing import Any

from fastapi import APIRouter, HTTPException, status
from pydantic import BaseModel
from sqlalchemy import select

from app.api.dependencies import DatabaseSession
from app.models import ScopeAssignment, User
from app.services.authentication import CurrentUser, active_roles, authentication_service

router = APIRouter(prefix="/auth", tags=["auth"])


class Credentials(BaseModel):
    """What a user logs in with."""

    username: str
    password: str


class Refresh(BaseModel):
    """What a user stays logged in with."""

    refresh_token: str


def _tokens(session: DatabaseSession, user: User) -> dict[str, Any]:
    roles = active_roles(session, user)
    if not roles:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "User has no active roles")
    scopes = session.scalars(
        select(ScopeAssignment).where(
            ScopeAssignment.user_role_id.in_([role.id for role in roles]),
            ScopeAssignment.is_active,
        )
    )
    return {
        "access_token": authentication_service.create_token(user, "access"),
        "refresh_token": authentication_service.create_token(user, "refresh"),
        "token_type": "bearer",
        "active_roles": [role.role_type.value for role in roles],
        "available_scopes": [
            {
                "scope_type": scope.scope_type.value,
                "program_id": scope.program_id,
                "project_id": scope.project_id,
            }
            for scope in scopes
        ],
    }


@router.post("/login")
def login(credentials: Credentials, session: DatabaseSession) -> dict[str, Any]:
    """Log a user in."""
    user = session.scalar(select(User).where(User.username == credentials.username))
    known = user is not None and user.is_active
    if not (
        user is not None
        and known
        and authentication_service.verify_password(credentials.password, user.password_hash)
    ):
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "Incorrect username or password")
    return _tokens(session, user)


@router.post("/refresh")
def refresh(given: Refresh, session: DatabaseSession) -> dict[str, Any]:
    """Give new tokens for a refresh token."""
    user = session.get(User, authentication_service.read_token(given.refresh_token, "refresh"))
    if user is None or not user.is_active:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "Could not validate credentials")
    return _tokens(session, user)


@router.get("/me")
def me(user: CurrentUser) -> dict[str, Any]:
    """Say who asks."""
    return {"id": user.id, "username": user.username, "email": user.email}
