"""Ports are published where compose files say them, and nothing else of the text changes."""

import pytest

from tasks.guardrails.errors import PreconditionFailed
from tasks.network.port_texts import read_port, with_port
from tasks.platforms.compose.network.listeners import listeners_in
from tasks.platforms.compose.network.rules import rules_of
from tasks.platforms.networks import Binding, Listener

BASE = """\
services:
  app:   # users
    image: app
    environment: {A: b}

  db:
    image: db
    ports:
      - "127.0.0.1:5432:5432"  # for us alone
      - target: 9187
        published: "9187"
        host_ip: 127.0.0.1
"""
SAVED = """\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER ! -i br-1 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.4:8000
COMMIT
*filter
:DOCKER - [0:0]
-A FORWARD -o br-1 -j DOCKER
-A DOCKER -d 172.18.0.4/32 ! -i br-1 -o br-1 -p tcp -m tcp --dport 8000 -j ACCEPT
COMMIT
"""
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   2: 0B00007F:9C4B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   3: 020012AC:1F40 010012AC:D431 01 00000000:00000000 00:00000000 00000000     0
   4: 00000000000000000000000001000000:1538 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0
"""


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        (8000, Binding(8000, "", 0)),
        ("8000", Binding(8000, "", 0)),
        ("80:8000/tcp", Binding(8000, "", 80)),
        ("127.0.0.1:80:8000", Binding(8000, "127.0.0.1", 80)),
        ("127.0.0.1::8000", Binding(8000, "127.0.0.1", 0)),
        ("[::1]:80:8000", Binding(8000, "::1", 80)),
        ("0.0.0.0:80:8000", Binding(8000, "", 80)),
        ({"target": 8000, "published": "80", "protocol": "tcp"}, Binding(8000, "", 80)),
        ("53:53/udp", None),
        ("${PORT:-80}:8000", None),
        ("8000-8010:8000-8010", None),
        ({"target": 53, "protocol": "udp"}, None),
    ],
)
def test_entries_are_read_in_every_form(entry: object, read: Binding | None) -> None:
    """A number, short, long, of IPv6; variables, ranges and UDP are not."""
    assert read_port(entry) == read


def test_a_port_is_added_and_no_other_line_changes() -> None:
    """Beside those there are, or under a key of its own."""
    wanted = Binding(8000, "", 8080)
    (text,) = with_port({"a.yml": BASE}, "app", wanted, None).values()
    assert text == BASE.replace("image: app\n", 'image: app\n    ports:\n      - "8080:8000"\n')
    (text,) = with_port({"a.yml": BASE}, "db", Binding(1, "::1", 2), None).values()
    assert text == f'{BASE}      - "[::1]:2:1"\n'


def test_an_entry_gets_another_address_in_its_own_form() -> None:
    """Its comment stays; the long form stays long."""
    now, wanted = Binding(5432, "127.0.0.1", 5432), Binding(5432, "10.0.0.1", 5432)
    (text,) = with_port({"a.yml": BASE}, "db", wanted, now).values()
    assert text == BASE.replace('"127.0.0.1:5432:5432"  #', '"10.0.0.1:5432:5432"   #')
    now, wanted = Binding(9187, "127.0.0.1", 9187), Binding(9187, "", 9187)
    (text,) = with_port({"a.yml": BASE}, "db", wanted, now).values()
    assert text == BASE.replace("        host_ip: 127.0.0.1\n", "")


def test_what_a_variable_says_is_refused() -> None:
    """The variable is named by where it stands, its value stays the person's."""
    text = BASE.replace("127.0.0.1:5432:5432", "${DB:-127.0.0.1:5432}:5432")
    now = Binding(5432, "127.0.0.1", 5432)
    with pytest.raises(PreconditionFailed, match=r"a variable of `\.env`"):
        with_port({"a.yml": text}, "db", Binding(5432, "10.0.0.1", 5432), now)
    with pytest.raises(PreconditionFailed, match="another one that they include may"):
        with_port({"a.yml": text}, "other", Binding(1, "", 1), None)


def test_listeners_are_read_from_the_kernels_table() -> None:
    """The engine's own name server and connections are none."""
    assert listeners_in(TABLE) == (
        Listener("::1", 5432),
        Listener("0.0.0.0", 8000),  # noqa: S104 - compared with
        Listener("127.0.0.1", 8080),
    )


@pytest.mark.parametrize(
    ("gone", "leads", "said"),
    [
        ("", True, "chain DOCKER leads port 8080 to the container"),
        (":DOCKER - [0:0]\n", False, "the engine's chain DOCKER is gone from the packet filter"),
        ("-A DOCKER ! -i br-1", False, "no rule of chain DOCKER (nat) leads port 8080"),
        ("-A DOCKER -d", False, "no rule of chain DOCKER (filter) lets"),
        ("-A FORWARD -o br-1", False, "chain FORWARD does not go to the engine's"),
    ],
)
def test_rules_that_are_gone_are_named(gone: str, leads: bool, said: str) -> None:
    """A firewall that was loaded anew takes them away, one or all."""
    saved = SAVED.replace(gone, "# ") if gone else SAVED
    found = rules_of(saved, ["172.18.0.4"], Binding(8000, "", 8080))
    assert found.lead_there is leads
    assert found.said.startswith(said)


def test_rules_that_lead_elsewhere_do_not_count() -> None:
    """The container had another address when they were made."""
    assert rules_of(SAVED, ["172.18.0.5"], Binding(8000, "", 8080)).lead_there is False
