"""Options of a cache whose container starts it from a file: kept where its next start has them."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.testbed.compose.system import ComposeSystem
from tasks.cache.options import MEMORY, SetCacheOptionsInFile
from tasks.cache.options_in_compose import SetCacheOptionsInCompose
from tasks.cache.options_kept import find_kept
from tasks.guardrails.plan import Change
from tasks.platforms.compose.target import ComposeTarget
from tests.cache_states import cache_as

MOUNTED, OF_VOLUME = "/etc/cache/cache.conf", "/data/cache.conf"
TEXT = "appendonly yes\nmaxmemory 5242880\n"
SMALL, LARGE = str(5 * 2**20), str(10 * 2**20)


@pytest.fixture
def project(fresh_compose: ComposeSystem) -> Iterator[ComposeSystem]:
    """Give a project with files for its cache, mounted and in its volume; as before afterwards."""
    compose = fresh_compose.folder / "docker-compose.yml"
    text = compose.read_text()
    mounted = fresh_compose.folder / "cache"
    mounted.mkdir()
    (mounted / "cache.conf").write_text(TEXT)
    write = f"printf '%s' '{TEXT}' > {OF_VOLUME}"
    done = fresh_compose.project.container("redis").exec_run(["sh", "-c", write])
    assert done.exit_code == 0, done.output
    yield fresh_compose
    compose.write_text(text)
    up(fresh_compose)
    shutil.rmtree(mounted)


def up(project: ComposeSystem) -> None:
    """Bring the cache up with what the files say."""
    project.project.run("up", "-d", "--no-build", "redis")
    project.up()


def start_with(project: ComposeSystem, command: str) -> None:
    """Start the cache with a command, and with a folder of the project."""
    compose = project.folder / "docker-compose.yml"
    shipped = "redis-server --appendonly yes --maxmemory 256mb --maxmemory-policy allkeys-lru"
    text = compose.read_text()
    assert shipped in text
    text = text.replace(shipped, command)
    mount = "      - redis_data:/data\n"
    compose.write_text(text.replace(mount, f"{mount}      - ./cache:/etc/cache\n"))
    up(project)


def kept(project: ComposeSystem) -> Change:
    """Find what has its next start work with more memory."""
    with closing(cache_as(project, "")) as client:
        file = str(client.info("server")["config_file"])
        assert client.config_get(MEMORY)[MEMORY] == SMALL
    target = ComposeTarget(**project.target_settings())
    (change,), _ = find_kept(target, file, {MEMORY: SMALL}, {MEMORY: LARGE}, "r1")
    return change


def test_a_file_of_the_project_is_edited(project: ComposeSystem) -> None:
    """Nothing else says it."""
    start_with(project, f"redis-server {MOUNTED}")
    change = kept(project)
    assert isinstance(change, SetCacheOptionsInFile)
    assert (change.path, change.before) == (MOUNTED, {MEMORY: SMALL})


@pytest.mark.parametrize(
    "command",
    [f"redis-server {MOUNTED} --maxmemory 5mb", f"redis-server {OF_VOLUME}"],
    ids=["the command wins over the file", "the file is out of reach"],
)
def test_else_the_command_says_it(project: ComposeSystem, command: str) -> None:
    """The next start of the command as it is written then has it so."""
    start_with(project, command)
    change = kept(project)
    assert isinstance(change, SetCacheOptionsInCompose)
    target = ComposeTarget(**project.target_settings())
    new = change.written(target.definition)
    for name, text in new.items():
        (Path(project.folder) / name).write_text(text)
    up(project)
    with closing(cache_as(project, "")) as client:
        assert client.config_get(MEMORY)[MEMORY] == LARGE
