"""Commands of health checks, and where compose files say them."""

import pytest

from tasks.containers.health_text import Wording, with_wording
from tasks.containers.health_words import (
    argv,
    changed,
    is_plain,
    shown,
    url_in,
    ways_to_ask,
    with_url,
)
from tasks.guardrails.errors import PreconditionFailed

URL = "http://localhost:8000/health"
BASE = f"""\
services:
  app:
    healthcheck:
      test: ["CMD", "curl", "-f", "{URL}"] # asks
      timeout: ${{SECONDS:-10s}}
      start_period: 40s
  db: {{image: postgres}}
"""
OVER = "services:\n  app:\n    image: planner\n"


@pytest.mark.parametrize(
    ("test", "url", "plain"),
    [
        (("CMD", "curl", "-f", URL), URL, True),
        (("CMD-SHELL", f"curl -fsS {URL} || exit 1"), URL, True),
        (("CMD-SHELL", f"wget -q --spider --tries=1 '{URL}' || exit 1"), URL, True),
        (("CMD", "curl", "-f", "-H", "Authorization: Bearer x", URL), URL, False),
        (("CMD", "curl", "-u", "me:x", URL), URL, False),
        (("CMD-SHELL", f"curl {URL} | grep ok"), URL, False),
        (("CMD-SHELL", f"curl {URL} && curl {URL}/db"), "", False),
        (("CMD", "curl", "-f", "http://me:x@localhost/health"), "", False),
        (("CMD", "curl", "-f", "http://localhost/health?key=x"), "", False),
        (("CMD-SHELL", "curl -f http://localhost:$PORT/health"), "", False),
        (("CMD", "pg_isready", "-U", "postgres"), "", False),
        (("CMD-SHELL", f"curl '{URL}"), URL, False),
    ],
)
def test_what_a_check_asks(test: tuple[str, ...], url: str, *, plain: bool) -> None:
    """Its one URL, and whether another program may ask it in its place; no secret is shown."""
    assert url_in(test) == url
    assert is_plain(test) is plain
    assert (URL in shown(test)) is plain


def test_commands_are_run_as_the_engine_does() -> None:
    """With a shell, or without."""
    assert argv(("CMD", "curl", URL)) == ("curl", URL)
    assert argv(("CMD-SHELL", "a || b")) == ("/bin/sh", "-c", "a || b")
    assert with_url(("CMD", "curl", URL), URL, f"{URL}z") == ("CMD", "curl", f"{URL}z")
    assert changed(URL, port=81, path="/up") == "http://localhost:81/up"
    assert changed("https://a/b", host="c") == "https://c:443/b"
    assert {way[1] for way in ways_to_ask(URL)} >= {"curl", "wget", "python3"}


def test_a_key_is_written_where_it_is_said_last() -> None:
    """With its comment; one that nobody says beside the check; the other files stay."""
    texts = {"base.yml": BASE, "over.yml": OVER}
    assert with_wording(texts, "app", Wording(old_url=URL, new_url=f"{URL}z")) == {
        "base.yml": BASE.replace('health"', 'healthz"')
    }
    assert with_wording(texts, "app", Wording(start_period=60)) == {
        "base.yml": BASE.replace("40s", "60s")
    }
    (name, text), *_ = with_wording(texts, "db", Wording(test=("CMD", "true"))).items()
    assert name == "base.yml"
    assert '["CMD", "true"]' in text


def test_what_a_variable_says_is_left() -> None:
    """It is said what to set; a URL that no file says neither."""
    for wording in (Wording(timeout=20), Wording(old_url="http://x/", new_url=URL)):
        with pytest.raises(PreconditionFailed):
            with_wording({"base.yml": BASE}, "app", wording)
    with pytest.raises(PreconditionFailed, match="have not"):
        with_wording({"base.yml": BASE}, "gone", Wording(timeout=20))
