"""A plain dump on its way to psql, without what this server or this psql does not know."""

import re
from typing import IO

# Among what is left out: the statement that gives the schema public to somebody.
PUBLIC_OWNER = "owner of public"
_CHUNK = 1 << 20
_HEAD_BYTES = 1 << 16
_TAIL_BYTES = 4096
_HEAD_END = re.compile(
    rb"^(?!SET |--|\\restrict |SELECT pg_catalog\.set_config|\s*$)", re.MULTILINE
)
_SETTING = re.compile(rb"^SET ([a-z_]+) = [^;\n]*;[ \t]*\r?\n", re.MULTILINE)
_RESTRICT = re.compile(rb"^\\restrict [A-Za-z0-9]+[ \t]*\r?\n", re.MULTILINE)
_OWNER = re.compile(rb'^ALTER SCHEMA "?public"? OWNER TO [^;\n]+;[ \t]*\r?\n', re.MULTILINE)
_UNRESTRICT = re.compile(rb"^\\unrestrict [A-Za-z0-9]+[ \t]*\r?\n?\s*\Z", re.MULTILINE)
# First minor release of each major version whose psql knows \restrict.
_KNOWS_RESTRICT = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}


def knows_restrict(version: str) -> bool:
    r"""Say whether a psql knows `\restrict`.

    Args:
        version: As psql prints it: 'psql (PostgreSQL) 15.18'.

    Returns:
        True for 13.22, 14.19, 15.14, 16.10, 17.6 and newer ones.
    """
    found = re.search(r"\) (\d+)\.(\d+)", version)
    if found is None:
        return "18" in version
    major, minor = int(found[1]), int(found[2])
    return minor >= _KNOWS_RESTRICT.get(major, 0 if major > max(_KNOWS_RESTRICT) else 1 << 30)


def pump(stream: IO[bytes], psql: IO[bytes], leave_out: tuple[str, ...], *, restrict: bool) -> None:
    r"""Copy a dump to psql.

    Args:
        stream: The dump, unpacked, at its start.
        psql: Its standard input.
        leave_out: Settings at the head that the server does not know, and PUBLIC_OWNER.
        restrict: Whether psql knows `\restrict`; where it does not, both its lines are left
            out, as the scan has already refused what it guards against.
    """
    start = stream.read(_HEAD_BYTES)
    end = _HEAD_END.search(start)
    at = end.start() if end else len(start)
    unknown = {name.encode() for name in leave_out}
    head = _SETTING.sub(lambda found: b"" if found[1] in unknown else found[0], start[:at])
    if not restrict:
        head = _RESTRICT.sub(b"", head)
    psql.write(head)
    held = start[at:]
    if PUBLIC_OWNER in leave_out:  # once: schemas come before everything that holds text
        held = _OWNER.sub(b"", held, count=1)
    while chunk := stream.read(_CHUNK):
        held += chunk
        psql.write(held[:-_TAIL_BYTES])
        held = held[-_TAIL_BYTES:]
    psql.write(held if restrict else _UNRESTRICT.sub(b"", held))
