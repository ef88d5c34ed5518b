"""A steady load on the sandbox's application, measured from outside, as its users see it.

The load is open: a request begins when its time has come, whether or not earlier ones have been
answered, so that a stall is seen by all who would have met it.
Run as `python -m infra.sandbox.load --home FOLDER --seconds N --out FILE`.
"""

import argparse
import asyncio
import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx

from infra.sandbox.accounts import KNOWN_PROGRAM, KNOWN_PROJECT
from infra.sandbox.load_check import CHECK_WITHIN_SECONDS, look_for
from infra.sandbox.load_report import LoadReport, Outcome, summarize
from infra.sandbox.settings import HOST, SandboxSettings

USER = "load"
RATE = 20
WRITES_IN_TEN = 4
REQUEST_SECONDS = 30.0
LOGIN_WITHIN_SECONDS = 60.0
LOGIN_ATTEMPTS = 30
REFRESH_EVERY_SECONDS = 60.0
LOGIN_AGAIN_AFTER_SECONDS = 1.0
LONGEST_SECONDS = 900.0
UNAUTHORIZED = 401
READS = (
    ("/api/v1/programs?limit=20", False),
    (f"/api/v1/projects/{KNOWN_PROJECT}", True),
    (f"/api/v1/programs/{KNOWN_PROGRAM}", False),
    ("/api/v1/auth/me", False),
)
# This machine, and the range for tests of networks (RFC 2544), which no other machine has.
_ALLOWED = (ip_network("127.0.0.0/8"), ip_network("198.18.0.0/15"))


class Load:
    """A load in a thread of its own; always ends by itself.

    Args:
        url: The application's URL; on loopback, or in a network of a test.
        password: Password of the load's own account.
        rate: Requests in a second, two in five of them writes.
        seconds: When it ends by itself.
    """

    def __init__(
        self, url: str, password: str, rate: float = RATE, seconds: float = LONGEST_SECONDS
    ) -> None:
        """Keep what to do; asks nothing."""
        if not any(ip_address(httpx.URL(url).host) in one for one in _ALLOWED):
            raise ValueError(f"the load goes to {_ALLOWED} only, not to {url}")
        self._url, self._password, self._rate = url, password, rate
        self._seconds = min(seconds, LONGEST_SECONDS)
        self._outcomes: list[Outcome] = []
        self._acknowledged: list[str] = []
        self._access = self._refresh = ""
        self._logged_in_at = 0.0
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began: Future[float] = Future()
        self._ended: Future[LoadReport] = Future()

    def start(self) -> None:
        """Log in and begin; returns when requests are going out.

        Raises:
            httpx.HTTPError: The load could not log in.
        """
        threading.Thread(target=self._thread, name="load", daemon=True).start()
        self._began.result(LOGIN_WITHIN_SECONDS)

    def stop(self) -> LoadReport:
        """End, look for the rows whose writing was acknowledged, and report.

        Returns:
            What was seen.
        """
        self.end()
        return self.wait()

    def end(self) -> None:
        """Send nothing more; `wait` then gives the report."""
        if self._loop is None:
            self._stop.set()
            return
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)

    def wait(self) -> LoadReport:
        """Wait until it ends by itself.

        Returns:
            What was seen.
        """
        return self._ended.result(self._seconds + 2 * REQUEST_SECONDS + CHECK_WITHIN_SECONDS)

    def _thread(self) -> None:
        try:
            self._ended.set_result(asyncio.run(self._run()))
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            for future in (self._began, self._ended):
                if not future.done():
                    future.set_exception(error)

    async def _run(self) -> LoadReport:
        self._loop = asyncio.get_running_loop()
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=50)
        async with httpx.AsyncClient(
            base_url=self._url, timeout=REQUEST_SECONDS, limits=limits, trust_env=False
        ) as client:
            await self._log_in(client)
            began = time.monotonic()
            self._began.set_result(began)
            delay = await self._send(client, began)
            ended = time.monotonic()
            await self._tokens(client)
            missing, unchecked = await look_for(self._acknowledged, client, self._access)
        return summarize(
            self._outcomes,
            seconds=ended - began,
            own_delay=delay,
            acknowledged=len(self._acknowledged),
            missing=missing,
            unchecked=unchecked,
        )

    async def _send(self, client: httpx.AsyncClient, began: float) -> float:
        """Send requests at their times; returns by how much the worst was late by our fault."""
        waiting: set[asyncio.Task[None]] = set()
        reads = itertools.cycle(READS)
        delay = 0.0
        for number in _times(began, self._rate, self._seconds):
            due = began + number / self._rate
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), due - time.monotonic())
            if self._stop.is_set():
                break
            delay = max(delay, time.monotonic() - due)
            writes = number * WRITES_IN_TEN % 10 < WRITES_IN_TEN
            sending = self._write(client, number) if writes else self._read(client, *next(reads))
            task = asyncio.create_task(sending)
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            if time.monotonic() - self._logged_in_at > REFRESH_EVERY_SECONDS:
                self._again(client, waiting)
        if waiting:
            await asyncio.wait(waiting, timeout=REQUEST_SECONDS)
        return delay

    async def _read(self, client: httpx.AsyncClient, path: str, fresh: bool) -> None:
        headers = {"Cache-Control": "no-cache"} if fresh else {}
        await self._ask(client, "GET", path, headers=headers)

    async def _write(self, client: httpx.AsyncClient, number: int) -> None:
        body = {"name": f"Load {number}"}
        answer = await self._ask(client, "POST", "/api/v1/programs", json=body)
        if answer is not None and answer.is_success:
            self._acknowledged.append(str(answer.json()["id"]))

    async def _ask(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        json: object = None,
    ) -> httpx.Response | None:
        begun = time.monotonic()
        answer: httpx.Response | None = None
        with_token = {**(headers or {}), "Authorization": f"Bearer {self._access}"}
        try:
            answer = await client.request(method, path, headers=with_token, json=json)
            what = str(answer.status_code)
        except httpx.HTTPError as error:
            what = type(error).__name__
        fine = answer is not None and answer.is_success
        self._outcomes.append(Outcome(begun, time.monotonic() - begun, fine, f"{method} {what}"))
        if answer is not None and answer.status_code == UNAUTHORIZED:
            self._refresh = ""
            if time.monotonic() - self._logged_in_at > LOGIN_AGAIN_AFTER_SECONDS:
                await self._tokens(client)
        return answer

    def _again(self, client: httpx.AsyncClient, waiting: set["asyncio.Task[None]"]) -> None:
        self._logged_in_at = time.monotonic()
        task = asyncio.create_task(self._tokens(client))
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    async def _tokens(self, client: httpx.AsyncClient) -> None:
        """Log in, or stay so; a failure leaves the old tokens, and the requests fail."""
        self._logged_in_at = time.monotonic()
        path, body = "login", {"username": USER, "password": self._password}
        if self._refresh:
            path, body = "refresh", {"refresh_token": self._refresh}
        with contextlib.suppress(httpx.HTTPError):
            answer = await client.post(f"/api/v1/auth/{path}", json=body)
            if answer.is_success:
                said = answer.json()
                self._access, self._refresh = said["access_token"], said["refresh_token"]

    async def _log_in(self, client: httpx.AsyncClient) -> None:
        for _ in range(LOGIN_ATTEMPTS):
            await self._tokens(client)
            if self._access:
                return
            await asyncio.sleep(LOGIN_AGAIN_AFTER_SECONDS)
        message = f"the load could not log in to {self._url} as {USER}"
        raise httpx.ConnectError(message)


def _times(began: float, rate: float, seconds: float) -> Iterator[int]:
    for number in itertools.count():
        if number / rate > seconds or time.monotonic() - began > seconds:
            return
        yield number


def main() -> None:
    """Read the command line, load, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m infra.sandbox.load", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    settings = SandboxSettings.model_validate_json((given.home / "sandbox.json").read_text())
    url = f"http://{HOST}:{settings.ports['proxy']}"
    load = Load(url, settings.accounts[USER], given.rate, given.seconds)
    signal.signal(signal.SIGTERM, lambda *_: load.end())
    signal.signal(signal.SIGINT, lambda *_: load.end())
    load.start()
    draft = given.out.with_name(f".{given.out.name}.new")
    draft.write_text(load.wait().model_dump_json(indent=2) + "\n")
    draft.replace(given.out)


if __name__ == "__main__":
    main()
