"""Stacks as py-spy writes them: whose code is at work, and how much of the time it took."""

from tasks.application.flames import flame_graph
from tasks.application.stacks import PYTHON, read, uses

IMAGE = """\
m (/app/main.py:9);run (/opt/site/uvicorn/main.py:1);call (/opt/site/anyio/_backends/x.py:4) 1
run (/opt/site/uvicorn/main.py:1);login (/app/api/login.py:3);check (/app/api/login.py:7) 6
run (/opt/site/uvicorn/main.py:1);login (/app/api/login.py:3);check (/app/api/login.py:8) 2
wait (/usr/lib/python3.11/threading.py:320);_boot (<frozen importlib._bootstrap>:1) 1
"""
PACKAGES = "go (/venv/lib/python3.12/site-packages/sqlalchemy/orm/x.py:2);twice (/a/b.py:1) 3\n"


def test_owners_are_told_apart() -> None:
    """The application's own below its folder, libraries wherever they were installed."""
    found = {one.function: one for frames in read(IMAGE, "/app") for one in frames}
    assert (found["login"].library, found["login"].file) == ("", "api/login.py")
    assert (found["call"].library, found["call"].file) == ("anyio", "anyio/_backends/x.py")
    assert found["run"].library == "uvicorn"
    assert found["wait"].library == found["_boot"].library == PYTHON
    (frames,) = read(PACKAGES, "/a")
    assert [(one.library, one.file) for one in frames] == [
        ("sqlalchemy", "sqlalchemy/orm/x.py"),
        ("", "b.py"),
    ]
    assert {one.library for frames in read(IMAGE, "") for one in frames} == {"", PYTHON}


def test_calls_however_deep_are_drawn() -> None:
    """Python lets a program call itself a thousand times: what draws it does not give up."""
    deep = "".join(f"f{n} (/app/a.py:{n});" for n in range(2000))
    picture = flame_graph(read(f"{deep}last (/app/a.py:1) 5\n", "/app"))
    assert ">f0 (a.py)<" in picture


def test_parts_are_of_all_that_was_seen() -> None:
    """What calls itself counts once; the line that was at work most often stands for it."""
    first = uses(read(IMAGE, "/app"))[0]
    assert (first.function, first.line, first.own, first.total) == ("check", 7, 0.8, 0.8)
    again = "f (/app/a.py:1);f (/app/a.py:2);g (/app/a.py:9) 1\n"
    parts = {one.function: (one.own, one.total) for one in uses(read(again, "/app"))}
    assert parts == {"g": (1.0, 1.0), "f": (0.0, 1.0)}


def test_what_is_no_stack_is_left_out() -> None:
    """A line that was cut, and one without a count."""
    assert not read("half a line\nf (/app/a.py:1) many\n\n", "/app")
