"""Compose files of older formats are written anew as a careful person would."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml.comments import CommentedMap

from tasks.containers.meaning import differences, meaning, said_twice
from tasks.containers.old_syntax import Written, modernised
from tasks.containers.yaml_text import edited, merged
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.complaints import shown


def write(*texts: str, volumes: frozenset[str] = frozenset(), links_go: bool = True) -> Written:
    """Write files anew for compose v2."""
    named = {f"{number}.yml": text for number, text in enumerate(texts)}
    return modernised(named, volumes, limits_move=True, links_go=links_go, restarts=True)


def one(text: str) -> str:
    """Write one file anew."""
    return write(text).texts["0.yml"]


def test_comments_order_quotes_and_odd_lines_stay() -> None:
    """What is edited is edited in its place; every other line is the same."""
    text = """\
# Ask first.
version: "2.1"   # for the host

# The services
x-log: &log
  restart:   "always"
  mem_limit: 512m   # measured
services:
    app:
        <<: *log
        image:  'app'
        ports: [ "8000:8000" ]
        # below it
        net: host # why
        environment:
        - A=1   # keep
        -   B=2
"""
    expected = """\
# Ask first.
# for the host
# The services
x-log: &log
  restart:   "always"
  deploy:
      resources:
          limits:
              memory: 512m # measured
services:
    app:
        <<: *log
        image:  'app'
        ports: [ "8000:8000" ]
        # below it
        network_mode: host # why
        environment:
        - A=1   # keep
        -   B=2
"""
    assert one(text) == expected


def test_line_ends_of_windows_stay() -> None:
    """Also where lines are added."""
    found = one("version: '3'\r\nservices:\r\n  a:\r\n    image: x\r\n    mem_limit: 1g\r\n")
    assert found.count("\r\n") == found.count("\n")
    assert "memory: 1g\r\n" in found


def test_links_of_another_network_and_other_names_stay() -> None:
    """Only what is reached without the link goes."""
    text = """\
services:
  app: {image: a, links: [db, 'db:database', far, host], depends_on: [cache]}
  db: {image: b}
  far: {image: c, networks: [other]}
  host: {image: d, network_mode: host}
  cache: {image: e}
networks: {other: }
"""
    app = yaml.safe_load(one(text))["services"]["app"]
    assert app["links"] == ["db:database", "far", "host"]
    assert app["depends_on"] == {
        "cache": {"condition": "service_started"},
        "db": {"condition": "service_started", "restart": True},
    }


def test_networks_and_who_is_first_are_read_from_all_files() -> None:
    """The file below says that both are on a network, and that one waits for the other."""
    base = "services:\n  app:\n    depends_on:\n      db: {condition: service_healthy}\n  db: {}\n"
    found = write(base, "services:\n  app:\n    links:\n    - db\n    restart: always\n")
    assert found.texts == {"1.yml": "services:\n  app:\n    restart: always\n"}
    apart = "services:\n  db:\n    network_mode: host\n"
    assert write(base, apart, "services:\n  app:\n    links: [db]\n").texts == {}
    assert write(base, "services:\n  app:\n    links: [db]\n", links_go=False).texts == {}


def test_volumes_of_the_first_format_keep_their_names() -> None:
    """Compose would put the project's name before them: the data would be elsewhere."""
    found = write("db:\n  image: x\n  volumes: ['data:/d', './here:/h']\n", volumes=frozenset())
    assert yaml.safe_load(found.texts["0.yml"])["volumes"] == {"data": {"name": "data"}}
    there = write("db:\n  image: x\n  volumes: ['data:/d']\n", volumes=frozenset({"data"}))
    assert yaml.safe_load(there.texts["0.yml"])["volumes"] == {
        "data": {"name": "data", "external": True}
    }
    assert there.first_format


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "version: '9'\ndb: {image: x}\n", "db: 1\n"])
def test_what_is_no_compose_file_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(PreconditionFailed):
        write(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{a: {image: x, mem_limit: 1g}}", "{a: {image: x, mem_limit: 2g}}"),
        ("{a: {image: x, net: host}}", "{a: {image: x}}"),
        ("{a: {image: x, links: ['b:c']}, b: {}}", "{a: {image: x}, b: {}}"),
        ("{a: {image: x, log_opt: {a: '1'}}}", "{a: {image: x, logging: {options: {a: '2'}}}}"),
        ("{a: {image: x, expose: [1]}}", "{a: {image: x}}"),
        (
            "{a: {mem_limit: 1g, deploy: {resources: {limits: {memory: 2g}}}}}",
            "{a: {deploy: {resources: {limits: {memory: 2g}}}}}",
        ),
    ],
)
def test_another_meaning_is_seen(old: str, new: str) -> None:
    """The proof fails where a value, an alias or a key is lost."""
    texts = [[{"services": yaml.safe_load(text)}] for text in (old, new)]
    assert list(differences(meaning(texts[0]), meaning(texts[1])))


def test_a_limit_that_is_said_twice_is_seen_across_files() -> None:
    """Which of them holds is not for us to say; the same value in other words is fine."""
    flat = {"services": {"a": {"mem_limit": "1g", "cpus": 1}}}
    deep = {"services": {"a": {"deploy": {"resources": {"limits": {"memory": "1024m"}}}}}}
    assert said_twice([flat, deep]) == []
    flat["services"]["a"]["mem_limit"] = "512m"
    assert said_twice([flat, deep]) == ["services.a.mem_limit"]


def test_tags_of_compose_stay() -> None:
    """They are no YAML that everybody knows."""
    text = (
        "services:\n  a:\n    ports:   !override ['1:1']\n    env: !reset null\n    mem_limit: 1g\n"
    )
    found = one(text)
    assert found.startswith(text.partition("    mem_limit")[0])
    assert "memory: 1g" in found


def test_what_compose_repeats_of_values_is_not_shown() -> None:
    """Names are; of other lines only how many there are."""
    said = (
        "validating /p/a.yml: services.app.net false schema\n"
        'invalid interpolation format for services.db.environment.P: "s3cret${"\n'
        'The "TOKEN" variable is not set. Defaulting to a blank string.\n'
    )
    assert shown(said) == (
        "services.app.net is not known to it",
        "variable TOKEN is not set",
        "a line more, not shown as it may repeat values: run `config` by hand",
    )


def test_both_edits_of_a_text_are_kept_or_neither() -> None:
    """Of the same lines nothing is guessed."""
    base = "a\nb\nc\nd\n"
    assert merged(base, "A\nb\nc\nd\n", "a\nb\nc\nD\n") == "A\nb\nc\nD\n"
    assert merged(base, "A\nb\nc\nd\n", "B\nb\nc\nd\n") is None


_KEYS = st.text("abcxyz", min_size=1, max_size=5)
_VALUES = st.recursive(
    st.integers() | st.booleans() | st.text("ab #:'\"-", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=12,
)
_OURS = st.text("ab1", min_size=1, max_size=4)


@settings(max_examples=40)
@given(
    found=st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=5),
    key=_KEYS,
    value=_OURS | st.dictionaries(_KEYS, _OURS, min_size=1, max_size=3),
)
def test_an_edit_is_what_is_read_afterwards(
    found: dict[str, object], key: str, value: object
) -> None:
    """Whatever the file holds, and in whichever style it was written."""

    def edit(document: CommentedMap) -> None:
        document[key] = value

    for style in (False, True):
        text = yaml.safe_dump(found, default_flow_style=style, sort_keys=False)
        assert yaml.safe_load(edited(text, "a.yml", edit)) == {**found, key: value}
        assert edited(text, "a.yml", _nothing) == text


def _nothing(_document: CommentedMap) -> None:
    """Edit nothing."""
