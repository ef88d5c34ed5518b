"""What is wrong with a cache that a person has to decide on is told, and nothing is done."""

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

import pytest
import redis

from flows.application.repair_cache_connection import repair_cache_connection
from infra.sandbox.services import Sandbox
from tests.approving import carry_out
from tests.cache_states import cache_as, configuration, restart_alone
from tests.prefect_fixtures import Runs

pytestmark = pytest.mark.usefixtures("cache_as_shipped")


def advised(runs: Runs, sandbox: Sandbox, told: str) -> None:
    """See that it is told what is wrong and what to run, and that nothing is changed."""
    for side in ("find", "server"):
        case, state = carry_out(runs, sandbox, repair_cache_connection, side=side)
        assert state.name == "Advised", state.message
        findings = case.stages[0].stage.findings
        assert any(told in one.what and one.patch for one in findings), findings
        assert not case.of_kind("begun")


def left_alone(runs: Runs, sandbox: Sandbox) -> None:
    """See that it gets on with its cache."""
    case, state = carry_out(runs, sandbox, repair_cache_connection)
    assert state.name == "Unchanged", case.stages[0].stage.findings


Break = Callable[[Sandbox], None]


def configured(*commands: str) -> Break:
    """Have the cache carry commands out."""

    def do(sandbox: Sandbox) -> None:
        with closing(cache_as(sandbox, "")) as client:
            for command in commands:
                client.execute_command(*command.split())  # type: ignore[no-untyped-call] # redis-py has none

    return do


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (configured("CONFIG SET maxmemory-policy noeviction maxmemory 1000"), "it is full"),
        (configured("REPLICAOF 127.0.0.1 1"), "a read-only copy of 127.0.0.1:1"),
    ],
)
def test_what_a_person_decides_is_told(
    runs: Runs, sandbox: Sandbox, wrong: Break, told: str
) -> None:
    """PING is answered all the while; what to run is said, and nothing is changed."""
    wrong(sandbox)
    advised(runs, sandbox, told)


def test_a_save_that_fails_is_told(runs: Runs, sandbox: Sandbox) -> None:
    """Its folder may not be written to; once it may, and a save went well, all is well."""
    folder = sandbox.valkey.folder
    folder.chmod(0o500)
    with closing(cache_as(sandbox, "")) as client:
        save(client, "err")
        with pytest.raises(redis.ResponseError, match="MISCONF"):
            client.set("planner:test", "1")
        advised(runs, sandbox, "its last save failed")
        client.config_set("save", "")  # whoever never saves by itself refuses nothing
        assert client.set("planner:test", "1")
        left_alone(runs, sandbox)
        client.config_set("save", "3600 1")
        folder.chmod(0o700)
        save(client, "ok")
    left_alone(runs, sandbox)


def save(client: "redis.Redis", status: str) -> None:
    """Have a cache save, and wait until that has ended in a way."""
    client.execute_command("BGSAVE")  # type: ignore[no-untyped-call] # redis-py has none
    while True:
        seen = client.info("persistence")
        if not seen["rdb_bgsave_in_progress"] and seen["rdb_last_bgsave_status"] == status:
            return
        time.sleep(0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_full_disk_is_told(runs: Runs, sandbox: Sandbox) -> None:
    """What is written does not fit into the append-only file; with room again all is well."""
    folder, filler = sandbox.valkey.folder, sandbox.valkey.folder / "filler"
    sandbox.valkey.service.stop()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], check=True)
    try:
        sandbox.valkey.configure()
        restart_alone(sandbox)
        with closing(cache_as(sandbox, "")) as client:
            with suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(2**16))
                    file.flush()
            with pytest.raises(redis.ResponseError, match="MISCONF"):
                fill(client)
            advised(runs, sandbox, "could not write to its append-only file")
            filler.unlink()
            while client.info("persistence")["aof_last_write_status"] != "ok":
                time.sleep(0.05)
        left_alone(runs, sandbox)
    finally:
        sandbox.valkey.service.stop()
        # Its threads may end after it, and whoever looks at the disk at that moment is in it.
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(client: "redis.Redis") -> None:
    """Write until the cache refuses it."""
    while True:
        client.set("planner:test", "x" * 2**16)


def test_a_cache_with_all_clients_that_it_may_have_is_told(runs: Runs, sandbox: Sandbox) -> None:
    """Others have opened sessions until it took no more."""
    with ExitStack() as held:
        first = held.enter_context(closing(cache_as(sandbox, "")))
        first.config_set("maxclients", 20)
        with pytest.raises(redis.ConnectionError, match="max number of clients"):
            crowd(sandbox, held)
        advised(runs, sandbox, "as many clients as it may have")
        first.config_set("maxclients", 10_000)
    left_alone(runs, sandbox)


def crowd(sandbox: Sandbox, held: ExitStack) -> None:
    """Open sessions until the cache takes no more."""
    while True:
        held.enter_context(closing(cache_as(sandbox, ""))).ping()


def test_a_cache_that_reads_its_data_is_waited_for(runs: Runs, sandbox: Sandbox) -> None:
    """Nothing is wrong, and nothing is done; once it has read them it is used."""
    with closing(cache_as(sandbox, "")) as client:
        client.mset({f"planner:test-{number}": "x" * 2**10 for number in range(10_000)})
        client.save()
    file = configuration(sandbox)
    text = file.read_text().replace("appendonly yes", "appendonly no")
    slowly = "key-load-delay 20000\nloading-process-events-interval-bytes 1024\n"
    file.write_text(text + slowly)
    sandbox.valkey.service.stop()
    sandbox.valkey.service.start()
    with closing(cache_as(sandbox, "")) as client:
        while not loads(client):
            time.sleep(0.05)
        advised(runs, sandbox, "it still reads its data")
        client.config_set("key-load-delay", 0)
        while loads(client):
            time.sleep(0.05)
    left_alone(runs, sandbox)


def loads(client: "redis.Redis") -> bool:
    """Say whether a cache reads its data; one that does not listen yet does not."""
    try:
        return bool(client.info("persistence")["loading"])
    except redis.ConnectionError:
        return False
