"""Accounts: password hashes, tokens, and who asks."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import bcrypt
import jwt
from fastapi import Depends, HTTPException, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select

from app.api.dependencies import DatabaseSession
from app.models import User, UserRole
from app.settings import settings

ALGORITHM = "HS256"
TokenKind = Literal["access", "refresh"]


class AuthenticationService:
    """Passwords and tokens; a class, because Planner's is one."""

    def hash_password(self, password: str) -> str:
        """Hash a password of at most 72 bytes."""
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt()).decode()

    def verify_password(self, password: str, password_hash: str) -> bool:
        """Say whether a password fits a hash; one that cannot be read fits nothing."""
        try:
            return bcrypt.checkpw(password.encode(), password_hash.encode())
        except ValueError:
            return False

    def create_token(self, user: User, kind: TokenKind) -> str:
        """Sign a token for a user."""
        life = (
            timedelta(minutes=settings.ACCESS_TOKEN_EXPIRE_MINUTES)
            if kind == "access"
            else timedelta(days=settings.REFRESH_TOKEN_EXPIRE_DAYS)
        )
        claims = {"sub": str(user.id), "type": kind, "exp": datetime.now(UTC) + life}
        return jwt.encode(claims, settings.SECRET_KEY, algorithm=ALGORITHM)

    def read_token(self, token: str, kind: TokenKind) -> uuid.UUID:
        """Give the user's id in a token.

        Raises:
            HTTPException: The token was not signed by us, is of another kind or has expired.
        """
        try:
            claims: dict[str, Any] = jwt.decode(token, settings.SECRET_KEY, algorithms=[ALGORITHM])
            if claims.get("type") != kind:
                raise _refused()
            return uuid.UUID(claims["sub"])
        except (jwt.PyJWTError, ValueError, KeyError) as error:
            raise _refused() from error


def _refused() -> HTTPException:
    return HTTPException(
        status.HTTP_401_UNAUTHORIZED,
        "Could not validate credentials",
        headers={"WWW-Authenticate": "Bearer"},
    )


authentication_service = AuthenticationService()
bearer = HTTPBearer(auto_error=False)


def current_user(
    session: DatabaseSession,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> User:
    """Give the user who asks, read from the database each time.

    Raises:
        HTTPException: Nobody who is known and active asks.
    """
    if credentials is None:
        raise _refused()
    user = session.get(User, authentication_service.read_token(credentials.credentials, "access"))
    if user is None or not user.is_active:
        raise _refused()
    return user


CurrentUser = Annotated[User, Depends(current_user)]


def active_roles(session: DatabaseSession, user: User) -> list[UserRole]:
    """Give the roles that a user has now."""
    asked = select(UserRole).where(UserRole.user_id == user.id, UserRole.is_active)
    return list(session.scalars(asked))
