"""The requests of a target's probe account, filled in and sent past every cache."""

from typing import Any, Self

import httpx

from tasks.platforms.protocols import Request

TIMEOUT_SECONDS = 10.0
TOO_MANY = 429


class TooManyRequests(Exception):
    """The application or its proxy counts our requests; says nothing of whether it works."""


class NotAnswered(Exception):
    """A request was not answered as a working system answers it.

    Args:
        told: What was asked, and what was answered instead.
        status: The status of the answer, 0 where there was none.
    """

    def __init__(self, told: str, status: int = 0) -> None:
        """Keep it."""
        super().__init__(told)
        self.status = status


class ProbeClient:
    """Sends a probe account's requests, and keeps what they capture for the next ones.

    Args:
        url: Where users reach the application.
        known: Placeholders: username, password, unique.
    """

    def __init__(self, url: str, known: dict[str, str]) -> None:
        """Make the client; sends nothing yet."""
        self.known = dict(known)
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False)

    def __enter__(self) -> Self:
        """Give the client."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Close its connections."""
        self._client.close()

    def send(self, request: Request) -> None:
        """Send a request and judge the answer.

        Args:
            request: As the target's configuration has it.

        Raises:
            TooManyRequests: 429.
            NotAnswered: No answer, another status, or another value than expected.
        """
        shown = f"{request.method} {request.path}"
        headers = {"Cache-Control": "no-cache", **self._filled(request.headers)}
        try:
            answer = self._client.request(
                request.method,
                self._filled(request.path),
                json=self._filled(request.body),
                headers=headers,
            )
        except httpx.HTTPError as error:
            raise NotAnswered(f"{shown}: {type(error).__name__} {error}".strip()) from error
        if answer.status_code == TOO_MANY:
            raise TooManyRequests(f"{shown}: 429")
        if answer.status_code != request.status:
            text = " ".join(answer.text.split())[:200]
            raise NotAnswered(
                f"{shown}: {answer.status_code} instead of {request.status}, {text!r}",
                answer.status_code,
            )
        if request.capture or request.expect:
            self._read(shown, request, answer)

    def _read(self, shown: str, request: Request, answer: httpx.Response) -> None:
        try:
            body = answer.json()
        except ValueError as error:
            raise NotAnswered(f"{shown}: the answer is no JSON") from error
        for path, expected in request.expect.items():
            found = _at(body, path)
            if str(found) != self._filled(expected):
                raise NotAnswered(
                    f"{shown}: {path} is {found!r} instead of {self._filled(expected)!r}"
                )
        for name, path in request.capture.items():
            found = _at(body, path)
            if found is None:
                raise NotAnswered(f"{shown}: there is no {path} in the answer")
            self.known[name] = str(found)

    def _filled(self, given: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(given, str):
            for name, value in self.known.items():
                given = given.replace("{" + name + "}", value)
            return given
        if isinstance(given, dict):
            return {key: self._filled(value) for key, value in given.items()}
        if isinstance(given, list):
            return [self._filled(value) for value in given]
        return given


def _at(body: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
    for part in path.split("."):
        if isinstance(body, dict):
            body = body.get(part)
        elif isinstance(body, list) and part.isdigit() and int(part) < len(body):
            body = body[int(part)]
        else:
            return None
    return body
