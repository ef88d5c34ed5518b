"""Why builds fail is read from what pip prints in a real one, and says no more than names."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from infra.testbed.docker.compose_program import Compose
from infra.testbed.docker.engine import Engine
from tasks.images.build_failures import Failure, classify
from tasks.images.new_image import recipe_of
from tasks.images.pin_proposals import propose
from tasks.platforms import targets
from tests.files_target import know_files
from tests.python_index import Index, pip_wheel

# One for each process: what one has built would be removed by another's `forget`.
BUILD = f"k{uuid4().hex[:9]}"
INSTALL = "--no-index --find-links /srv/app --find-links /srv/lower --find-links /srv/newer"
DOCKERFILE = """\
FROM planner-app:production
USER root
COPY . /srv
RUN python /srv/pip.whl/pip install --no-cache-dir --target /opt/x INSTALL -r /srv/requirements.txt
"""


@pytest.fixture
def index(tmp_path: Path, docker_engine: Engine, compose_program: Compose, home: Path) -> Index:
    """A folder with packages that an image is built from; known as a target."""
    assert home
    found = Index(tmp_path / "code")
    (found.folder / "pip.whl").write_bytes(pip_wheel())
    (found.folder / "Dockerfile").write_text(DOCKERFILE.replace("INSTALL", INSTALL))
    (tmp_path / "compose.yml").write_text("services: {app: {build: {context: code}}}\n")
    know_files(tmp_path, compose_program, "remedy-test-failures", engine_url=docker_engine.url)
    return found


def versions_for(
    index: Index, failure: Failure, running: Mapping[str, str]
) -> tuple[tuple[str, ...], bool]:
    """Give the versions that are proposed, and whether an image is built with them."""
    images = targets.load("files").images
    recipe = recipe_of(images, "app")
    texts = {"requirements.txt": (index.folder / "requirements.txt").read_text()}
    found = propose(images, recipe, BUILD, failure, texts, running)
    return (tuple(one.new for one in found.pins), found.proved) if found else ((), False)


def failure_of(index: Index, requirements: str) -> Failure:
    """Build with requirements, which has to fail; nothing of it stays."""
    (index.folder / "requirements.txt").write_text(requirements)
    images = targets.load("files").images
    built = images.build(recipe_of(images, "app"), BUILD, ignore=None, cached=False)
    images.forget(BUILD, [built])
    assert not built.image
    return classify(built)


def no_version(index: Index) -> str:
    """Ask for a version that the index has not."""
    index.add("lower", "1.0")
    index.add("lower", "1.2")
    return "lower==1.1\n"


def conflict(index: Index) -> str:
    """Ask for two that need different versions of a third."""
    index.add("lower", "1.0")
    index.add("lower", "2.0")
    index.add("app", "1.0", ["lower>=2"])
    return "app==1.0\nlower==1.0\n"


def another_python(index: Index) -> str:
    """Ask for one that only a later Python may have."""
    index.add("newer", "3.0", python=">=3.99")
    return "newer==3.0\n"


def no_compiler(index: Index) -> str:
    """Ask for one that has no wheel, and needs a compiler."""
    index.add("lower", "1.0")
    index.add_sources("lower", "2.0")
    return "lower\n"


def another_hash(index: Index) -> str:
    """Ask for one by a hash that it has not."""
    index.add("lower", "1.0")
    return f"lower==1.0 --hash=sha256:{'0' * 64}\n"


def no_hash(index: Index) -> str:
    """Ask for one by its hash, which needs one without."""
    wheel = index.add("app", "1.0", ["lower"])
    index.add("lower", "1.0")
    return f"app==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def no_index(index: Index) -> str:
    """Ask an index that nobody serves, with a password in its address."""
    dockerfile = index.folder / "Dockerfile"
    away = "--retries 1 --index-url http://user:hidden-one@127.0.0.1:9/simple"
    dockerfile.write_text(DOCKERFILE.replace("INSTALL", away))
    return "lower\n"


def no_file(index: Index) -> str:
    """Copy a file that is not there."""
    (index.folder / "Dockerfile").write_text("FROM planner-app:production\nCOPY gone.txt /srv\n")
    return ""


# What runs; what is proposed by that, and whether it is enough.
VERSIONS: dict[Callable[[Index], str], tuple[dict[str, str], tuple[str, ...], bool]] = {
    no_version: ({}, ("lower==1.2",), True),
    conflict: ({"app": "1.0", "lower": "2.0"}, ("lower==2.0",), True),
    no_compiler: ({"lower": "1.0"}, ("lower==1.0",), True),
    another_hash: ({"lower": "1.0"}, (), False),
}
WHY: dict[Callable[[Index], str], tuple[str, tuple[str, ...], str]] = {
    no_version: ("version", ("lower",), "The index has no lower==1.1: it has 1.0, 1.2."),
    conflict: ("conflict", ("lower", "app"), "app 1.0 needs lower>=2"),
    another_python: ("python", ("newer",), ">=3.99"),
    no_compiler: ("library", ("lower",), "to build it a Rust compiler is missing"),
    another_hash: ("hash", ("lower",), "lower 1.0 has another hash"),
    no_hash: ("hash", (), "one that they need is not pinned"),
    no_index: ("network", (), "The index of packages is not reached for lower."),
    no_file: ("file", (), "not in the folder"),
}


@pytest.mark.parametrize("broken", WHY, ids=[one.__name__ for one in WHY])
def test_why_it_fails(index: Index, broken: Callable[[Index], str]) -> None:
    """Kind, packages and reason; a password in an address is not repeated."""
    kind, packages, what = WHY[broken]
    failure = failure_of(index, broken(index))
    assert (failure.kind, failure.packages) == (kind, packages), failure
    assert what in failure.what
    assert "hidden-one" not in repr(failure)
    if broken in VERSIONS:
        running, *wanted = VERSIONS[broken]
        assert versions_for(index, failure, running) == tuple(wanted)
