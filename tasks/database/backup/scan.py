r"""What a dump's SQL would do: what it makes, whom it names, and what must not be run.

A plain dump is a program: psql runs commands of the shell from it (`\!`), and SQL in it can
reach other databases. Whatever goes beyond the database it is loaded into is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO

from tasks.database.backup.sql_pieces import Command, Comment, CopyData, Statement
from tasks.database.backup.sql_stream import SqlStream

_HEADS = {
    "server_version": re.compile(r"-- Dumped from database version (\S+)"),
    "dump_version": re.compile(r"-- Dumped by pg_dump version (\S+)"),
    "started": re.compile(r"-- Started on (.+)"),
}
_COMPLETE = "-- PostgreSQL database dump complete"
_CLUSTER = "-- PostgreSQL database cluster dump"
_RESTRICT = re.compile(r"\\(un)?restrict [A-Za-z0-9]+\s*")
_BEYOND = {"DATABASE", "TABLESPACE", "ROLE", "USER", "GROUP", "SYSTEM"}
_CALLS = {"SET_CONFIG", "SETVAL", "LO_CREATE", "LO_OPEN", "LOWRITE", "LO_CLOSE", "LO_CREAT"}
# What pg_dump --statistics writes since PostgreSQL 18.
_STATISTICS = {"PG_RESTORE_RELATION_STATS", "PG_RESTORE_ATTRIBUTE_STATS"}
# A byte of theirs may look like a backslash or a quote.
_UNSAFE_ENCODINGS = {"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004", "MSKANJI"}
_MOST_REFUSALS = 20
_OWNER_OF_PUBLIC = ["alter", "schema", "public", "owner", "to"]


@dataclass
class Scan:
    """What was seen in a dump's SQL.

    Args:
        refusals: Line and reason of what must not be run.
        tables: Rows by 'schema.table', for each COPY with its data.
        created: Tables created, as 'schema.table'.
        roles: Roles it names.
        owners: Those of them to which it gives objects.
        public_owner: Whom it makes the owner of the schema public, '' where it does not.
        defaulting: Those of them whose default rights it sets.
        extensions: Extensions it creates.
        settings: Settings of the session it makes, with their values.
        attached: Publications, subscriptions, servers, event triggers, as 'publication p'.
        heads: server_version, dump_version and started, as the comments have them.
        complete: Whether the comment that ends a dump is there.
        cluster: Whether it is a dump of a whole cluster (pg_dumpall).
        cut: Whether the data of a COPY or a statement has no end.
        sample: The first rows of the table that was asked for.
    """

    refusals: list[tuple[int, str]] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    created: set[str] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)
    owners: set[str] = field(default_factory=set)
    public_owner: str = ""
    defaulting: set[str] = field(default_factory=set)
    extensions: set[str] = field(default_factory=set)
    settings: dict[str, str] = field(default_factory=dict)
    attached: list[str] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    cluster: bool = False
    cut: bool = False
    sample: list[str] = field(default_factory=list)


def scan(stream: IO[bytes], rows_of: str = "") -> Scan:
    """Read a dump's SQL to its end.

    Args:
        stream: Plain SQL, not compressed.
        rows_of: Name of a table, without schema, whose rows go into `sample`.

    Returns:
        What it holds, and what of it must not be run.
    """
    seen = Scan()
    copied = ""
    for piece in SqlStream(stream).pieces():
        if isinstance(piece, Comment):
            _read_comment(piece.text, seen)
        elif isinstance(piece, Command):
            if not _RESTRICT.fullmatch(piece.text):
                _refuse(seen, piece.line, f"the psql command {piece.text[:60].strip()!r}")
        elif isinstance(piece, CopyData):
            seen.tables[copied] = seen.tables.get(copied, 0) + piece.rows
            if rows_of and copied.endswith(f".{rows_of}"):
                seen.sample = piece.first.splitlines()
            seen.cut = seen.cut or not piece.ended
        else:
            if piece.tokens[0] == "COPY":
                copied = _name_at(piece.tokens, 1)
            _read_statement(piece, seen)
    return seen


def _refuse(seen: Scan, line: int, reason: str) -> None:
    if len(seen.refusals) < _MOST_REFUSALS:
        seen.refusals.append((line, reason))


def _read_comment(text: str, seen: Scan) -> None:
    for head, pattern in _HEADS.items():
        if found := pattern.match(text):
            seen.heads.setdefault(head, found[1].strip())
    seen.complete = seen.complete or text.strip() == _COMPLETE
    seen.cluster = seen.cluster or text.startswith(_CLUSTER)


def _read_statement(statement: Statement, seen: Scan) -> None:
    tokens = statement.tokens
    if statement.doubt:
        seen.cut = seen.cut or statement.doubt in {"it has no end", "it ends within quotes"}
        _refuse(seen, statement.line, f"{' '.join(tokens[:4])}: {statement.doubt}")
    if reason := _beyond(tokens):
        _refuse(seen, statement.line, f"{' '.join(tokens[:5])[:80]}: {reason}")
    match tokens[:2]:
        case ["CREATE", "TABLE" | "UNLOGGED" | "FOREIGN"] if "TABLE" in tokens[:3]:
            seen.created.add(_name_at(tokens, tokens.index("TABLE") + 1))
        case ["CREATE", "EXTENSION"]:
            at = tokens.index("EXISTS") + 1 if "EXISTS" in tokens[:5] else 2
            seen.extensions.add(_plain(tokens[at]))
        case ["CREATE", "PUBLICATION" | "SUBSCRIPTION" | "SERVER"]:
            seen.attached.append(f"{tokens[1].lower()} {_plain(tokens[2])}")
        case ["CREATE", "EVENT"]:
            seen.attached.append(f"event trigger {_plain(tokens[3])}")
        case ["SET", name]:
            seen.settings[name.lower()] = "".join(tokens[3:])
    owners = set(_listed(tokens, _owners_at(tokens)))
    if [word.strip('"').lower() for word in tokens[:5]] == _OWNER_OF_PUBLIC and len(owners) == 1:
        (seen.public_owner,) = owners
    else:
        seen.owners |= owners
    if tokens[:2] == ["ALTER", "DEFAULT"]:
        seen.defaulting.update(_listed(tokens, _behind(tokens, ("FOR", "ROLE"))))
    seen.roles |= seen.owners | seen.defaulting | set(_listed(tokens, _grantees_at(tokens)))


def _beyond(tokens: list[str]) -> str:
    first, second = tokens[0], tokens[1] if len(tokens) > 1 else ""
    reason = ""
    if first in {"CREATE", "DROP", "ALTER"} and second in _BEYOND:
        whole = second == "USER" and tokens[2:3] == ["MAPPING"]
        reason = "" if whole else "reaches beyond the database it is loaded into"
    elif first in {"GRANT", "REVOKE", "COMMENT", "SECURITY"} and _follows(tokens, "ON", "DATABASE"):
        reason = "names a database"
    elif first in {"GRANT", "REVOKE"} and "ON" not in tokens:
        reason = "grants a role"
    elif first in {"COMMENT", "SECURITY"} and _follows(tokens, "ON", "ROLE"):
        reason = "names a role of the whole server"
    elif first == "COPY" and tokens[-2:] != ["FROM", "STDIN"]:
        reason = "reads or writes elsewhere than in the dump"
    elif first in {"DO", "CALL", "LOAD", "REASSIGN", "PREPARE", "EXECUTE", "LISTEN", "NOTIFY"}:
        reason = "no dump holds it, and what it does can't be seen"
    elif first == "DROP" and second == "OWNED":
        reason = "reaches beyond the database it is loaded into"
    elif first in {"SET", "RESET"}:
        reason = _beyond_setting(tokens)
    elif first in {"SELECT", "WITH", "VALUES", "TABLE"}:
        reason = _beyond_call(tokens)
    return reason


def _beyond_setting(tokens: list[str]) -> str:
    words = [word for word in tokens[1:4] if word not in {"LOCAL", "SESSION"}]
    if "ROLE" in words or "AUTHORIZATION" in words or tokens[1:2] == ["ALL"]:
        return "changes whose rights it is loaded with"
    value = tokens[-1].strip("'").upper()
    if "STANDARD_CONFORMING_STRINGS" in words and value in {"OFF", "FALSE", "0", "NO", "F", "N"}:
        return "changes where its own strings end"
    if "BACKSLASH_QUOTE" in words:
        return "changes where its own strings end"
    if ("CLIENT_ENCODING" in words or "NAMES" in words) and value in _UNSAFE_ENCODINGS:
        return f"the encoding {value} can hide a backslash"
    return ""


def _beyond_call(tokens: list[str]) -> str:
    # Statistics are called from a list of columns: SELECT * FROM pg_catalog . name (
    call = tokens[2:] if tokens[:3] == ["SELECT", "*", "FROM"] else tokens
    if tokens[0] != "SELECT" or call[1:3] != ["PG_CATALOG", "."] or len(call) < 5:  # noqa: PLR2004 - SELECT pg_catalog . name (
        return "calls something else than what a dump calls"
    if call[3] not in (_CALLS if call is tokens else _STATISTICS):
        return f"calls {call[3].lower()}"
    if call[3] == "SET_CONFIG" and call[5:6] != ["'search_path'"]:
        return "changes a setting that no dump changes"
    called = [word for word, after in pairwise(call[4:]) if after == "("]
    inner = {word for word in called if word.isidentifier() or word.startswith('"')} - _CALLS
    return f"calls {inner.pop().lower()}" if inner else ""


def _follows(tokens: list[str], first: str, second: str) -> bool:
    return any(pair == (first, second) for pair in pairwise(tokens))


def _owners_at(tokens: list[str]) -> Iterator[int]:
    if tokens[0] in {"ALTER", "CREATE"}:
        yield from _behind(tokens, ("OWNER", "TO"))
        yield from (i + 1 for i, word in enumerate(tokens) if word == "AUTHORIZATION")


def _behind(tokens: list[str], words: tuple[str, str]) -> Iterator[int]:
    yield from (i + 2 for i, pair in enumerate(pairwise(tokens)) if pair == words)


def _grantees_at(tokens: list[str]) -> Iterator[int]:
    words: set[str] = set()
    if tokens[0] in {"GRANT", "REVOKE"} or tokens[:2] == ["ALTER", "DEFAULT"]:
        words = {"TO", "FROM"}
    elif tokens[:2] == ["CREATE", "POLICY"]:
        words = {"TO"}
    yield from (i + 1 for i, word in enumerate(tokens) if word in words)


def _listed(tokens: list[str], starts: Iterator[int]) -> Iterator[str]:
    """Give the names in each list of roles that begins at one of the places."""
    for start in starts:
        at = start
        while at < len(tokens):
            name = _plain(tokens[at])
            if name.upper() not in {"PUBLIC", "CURRENT_USER", "SESSION_USER", "GROUP"}:
                yield name
            at += 1
            if tokens[at : at + 1] != [","]:
                break
            at += 1


def _name_at(tokens: list[str], at: int) -> str:
    while at < len(tokens) and tokens[at] in {"ONLY", "IF", "NOT", "EXISTS"}:
        at += 1
    if tokens[at + 1 : at + 2] == ["."]:
        return f"{_plain(tokens[at])}.{_plain(tokens[at + 2])}"
    return f"public.{_plain(tokens[at])}"


def _plain(token: str) -> str:
    if token.startswith('"'):
        return token[1:-1].replace('""', '"')
    return token.lower()
