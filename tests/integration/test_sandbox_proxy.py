"""The proxy in front of the application's processes, with upstreams that misbehave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from infra.sandbox.control import Control
from infra.sandbox.gate import Gate, Upstream
from infra.sandbox.http1 import HEAD_LIMIT
from infra.sandbox.proxy import Proxy
from infra.sandbox.settings import HOST, choose_ports

Answerer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Setting:
    """A proxy with its clients."""

    def __init__(self, gate: Gate, url: str, control: str) -> None:
        """Keep the clients."""
        self.gate = gate
        self.client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=60)
        self.control = httpx.AsyncClient(base_url=control, trust_env=False, timeout=60)


@contextlib.asynccontextmanager
async def proxied(*answerers: Answerer | None) -> AsyncIterator[Setting]:
    """Run a proxy before upstreams; None is one that does not listen."""
    upstreams, servers = [], []
    for number, answerer in enumerate(answerers):
        port = choose_ports(set())["proxy"]
        upstreams.append(Upstream(f"up-{number}", HOST, port))
        if answerer is not None:
            servers.append(await asyncio.start_server(answerer, HOST, port))
    gate = Gate(upstreams)
    ours = [
        await asyncio.start_server(served, HOST, 0, limit=HEAD_LIMIT)
        for served in (Proxy(gate).serve, Control(gate).serve)
    ]
    servers += ours
    urls = [f"http://{HOST}:{server.sockets[0].getsockname()[1]}" for server in ours]
    setting = Setting(gate, *urls)
    try:
        yield setting
    finally:
        await setting.client.aclose()
        await setting.control.aclose()
        for server in servers:
            server.close()


def answering(
    text: str,
    *,
    let_go: asyncio.Event | None = None,
    chunked: bool = False,
    seen: list[bytes] | None = None,
) -> Answerer:
    """Make an upstream that answers every request with a text, once it is let go."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"), 0
        )
        body = await reader.readexactly(length)
        if seen is not None:
            seen.append(head + body)
        if let_go is not None:
            await let_go.wait()
        if chunked:
            pieces = "".join(f"1\r\n{letter}\r\n" for letter in text)
            framing, content = "Transfer-Encoding: chunked", f"{pieces}0\r\n\r\n"
        else:
            framing, content = f"Content-Length: {len(text)}", text
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{content}".encode())
        await writer.drain()
        writer.close()

    return answer


async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a request and end without an answer, as a killed process does."""
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


def run(scene: Callable[[], Awaitable[None]]) -> None:
    """Run a scene within two minutes."""

    async def bounded() -> None:
        await asyncio.wait_for(scene(), 120)

    asyncio.run(bounded())


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    while not is_so():  # noqa: ASYNC110 - what it waits for tells nobody
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("chunked", [False, True])
def test_answers_pass_through_on_one_connection(chunked: bool) -> None:
    """Both framings of a body reach the client whole, and the connection stays open."""

    async def scene() -> None:
        async with proxied(answering("hello", chunked=chunked)) as setting:
            for _ in range(3):
                answer = await setting.client.get("/x")
                assert (answer.status_code, answer.text) == (200, "hello")
                assert answer.headers["connection"] == "keep-alive"

    run(scene)


def test_requests_in_chunks_reach_the_upstream_whole() -> None:
    """A body sent in chunks arrives with its length."""
    seen: list[bytes] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cde"

    async def scene() -> None:
        async with proxied(answering("ok", seen=seen)) as setting:
            assert (await setting.client.post("/x", content=pieces())).status_code == 200

    run(scene)
    assert seen[0].endswith(b"\r\n\r\nabcde")
    assert b"Content-Length: 5" in seen[0]


def test_a_length_said_in_two_ways_is_refused() -> None:
    """Request smuggling: Content-Length beside Transfer-Encoding answers 400."""

    async def scene() -> None:
        async with proxied(answering("ok")) as setting:
            port = setting.client.base_url.port
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(
                b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\nHost: x\r\n\r\nabc"
            )
            assert (await reader.readline()).startswith(b"HTTP/1.1 400")
            writer.close()

    run(scene)


def test_an_upstream_that_does_not_listen_is_passed_over() -> None:
    """Writes too go to the other, as they were not sent yet."""

    async def scene() -> None:
        async with proxied(None, answering("two")) as setting:
            for _ in range(4):
                assert (await setting.client.post("/x", content=b"1")).text == "two"

    run(scene)


def test_a_write_that_was_sent_is_not_repeated() -> None:
    """Where the upstream died over a request, a read is asked again and a write is not."""

    async def scene() -> None:
        async with proxied(dying, answering("two")) as setting:
            reads = [await setting.client.get("/x") for _ in range(4)]
            assert {read.status_code for read in reads} == {200}
            writes = [await setting.client.post("/x", content=b"1") for _ in range(4)]
            assert sorted(write.status_code for write in writes) == [200, 200, 502, 502]

    run(scene)


def test_a_pause_holds_requests_until_resumed() -> None:
    """The pause waits for what is in flight; held requests succeed after it."""

    async def scene() -> None:
        let_go = asyncio.Event()
        async with proxied(answering("ok", let_go=let_go)) as setting:
            early = asyncio.create_task(setting.client.get("/early"))
            await until(lambda: setting.gate.in_flight)
            asked = asyncio.create_task(setting.control.post("/pause?seconds=50&patience=40"))
            await until(lambda: setting.gate.status()["paused"])
            await asyncio.sleep(0.2)
            assert not asked.done()
            let_go.set()
            paused = (await asked).json()
            assert paused["ok"]
            assert setting.gate.in_flight == 0
            assert (await early).status_code == 200
            late = asyncio.create_task(setting.client.get("/late"))
            await until(lambda: setting.gate.waiting)
            await asyncio.sleep(0.5)
            assert not late.done()
            status = (await setting.control.get("/status")).json()
            assert (status["paused"], status["waiting"], status["in_flight"]) == (True, 1, 0)
            again = (await setting.control.post("/pause?seconds=50")).json()
            assert not again["ok"]
            await setting.control.post(f"/resume?pause={paused['pause']}")
            assert (await late).status_code == 200

    run(scene)


def test_a_pause_that_cannot_be_had_opens_again() -> None:
    """A request that does not end within the patience: ok is false, and nobody is held."""

    async def scene() -> None:
        let_go = asyncio.Event()
        async with proxied(answering("ok", let_go=let_go)) as setting:
            long = asyncio.create_task(setting.client.get("/long"))
            await until(lambda: setting.gate.in_flight)
            paused = (await setting.control.post("/pause?seconds=50&patience=0.2")).json()
            assert (paused["ok"], paused["reason"]) == (False, "requests in flight did not end")
            assert not setting.gate.status()["paused"]
            let_go.set()
            await long

    run(scene)


def test_a_forgotten_pause_ends_by_itself() -> None:
    """The dead man's resume; the number of a pause that is over ends no later one."""

    async def scene() -> None:
        async with proxied(answering("ok")) as setting:
            first = (await setting.control.post("/pause?seconds=0.3")).json()
            assert (await setting.client.get("/held")).status_code == 200
            second = (await setting.control.post("/pause?seconds=50")).json()
            stale = (await setting.control.post(f"/resume?pause={first['pause']}")).json()
            assert not stale["ok"]
            assert setting.gate.status()["paused"]
            assert (await setting.control.post(f"/resume?pause={second['pause']}")).json()["ok"]

    run(scene)


def test_a_drained_upstream_gets_nothing_new() -> None:
    """Drain waits for what it has, and undrain gives it requests again."""

    async def scene() -> None:
        let_go = asyncio.Event()
        async with proxied(answering("one", let_go=let_go), answering("two")) as setting:
            upstream = setting.gate.upstreams["up-0"]
            first = asyncio.create_task(setting.client.get("/x"))
            await until(lambda: upstream.in_flight)
            draining = asyncio.create_task(setting.control.post("/drain?upstream=up-0&patience=40"))
            await until(lambda: upstream.drained)
            await asyncio.sleep(0.2)
            assert not draining.done()
            let_go.set()
            drained: dict[str, Any] = (await draining).json()
            assert drained == {"ok": True, "in_flight": 0}
            assert (await first).text == "one"
            assert {(await setting.client.get("/x")).text for _ in range(4)} == {"two"}
            await setting.control.post("/undrain?upstream=up-0")
            assert {(await setting.client.get("/x")).text for _ in range(4)} == {"one", "two"}

    run(scene)
