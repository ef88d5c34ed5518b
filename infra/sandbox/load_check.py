"""Look whether rows are there whose writing the application acknowledged."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

import httpx

CHECK_WITHIN_SECONDS = 60.0
AT_ONCE = 8
NOT_FOUND = 404


async def look_for(
    rows: Sequence[str], client: httpx.AsyncClient, token: str
) -> tuple[list[str], int]:
    """Look for programs, past the cache, within a minute.

    Args:
        rows: Their ids.
        client: A client of the application.
        token: An access token.

    Returns:
        The ids of those that are not there, and the number of those that it could not be asked of.
    """
    deadline = time.monotonic() + CHECK_WITHIN_SECONDS
    headers = {"Authorization": f"Bearer {token}", "Cache-Control": "no-cache"}
    left = iter(rows)
    missing: list[str] = []
    answered = 0

    async def look() -> None:
        nonlocal answered
        for row in left:
            if time.monotonic() > deadline:
                return
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.get(f"/api/v1/programs/{row}", headers=headers)
                answered += answer.is_success or answer.status_code == NOT_FOUND
                if answer.status_code == NOT_FOUND:
                    missing.append(row)

    await asyncio.gather(*(look() for _ in range(AT_ONCE)))
    return missing, len(rows) - answered
