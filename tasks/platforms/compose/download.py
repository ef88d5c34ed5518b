"""Files from elsewhere, by HTTP; what they are is known by their hash."""

from pathlib import Path

import httpx

from tasks.guardrails.errors import PreconditionFailed, Transient

_SECONDS = 60
_MOST = 500 * 2**20


def fetch(url: str, file: Path) -> None:
    """Fetch a file.

    Args:
        url: Where it is.
        file: Where it goes.

    Raises:
        Transient: Nobody answers there.
        PreconditionFailed: It is not there, or larger than any program of this kind.
    """
    size = 0
    try:
        with (
            httpx.stream("GET", url, follow_redirects=True, timeout=_SECONDS) as answer,
            file.open("wb") as goal,
        ):
            answer.raise_for_status()
            for part in answer.iter_bytes():
                size += len(part)
                if size > _MOST:
                    raise PreconditionFailed(
                        expected=f"a program of at most {_MOST // 2**20} MiB at {url}.",
                        found="more than that.",
                        todo="Correct `source`.",
                    )
                goal.write(part)
    except httpx.HTTPStatusError as error:
        raise PreconditionFailed(
            expected=f"a program at {url}.",
            found=f"status {error.response.status_code}.",
            todo="Correct `source`.",
        ) from error
    except httpx.HTTPError as error:
        raise Transient(
            expected=f"an answer of {url}.",
            found=f"{str(error) or type(error).__name__}.",
            todo="Look whether this machine reaches it; or fetch it by hand, and give its path.",
        ) from error
