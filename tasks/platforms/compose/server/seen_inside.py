"""What is seen of a server's data folder from a container beside it, by PostgreSQL's own programs.

Sources: PostgreSQL manual, pg_controldata; postgres (-C).
"""

import re
from dataclasses import dataclass

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.server.beside_data import BesideData
from tasks.platforms.compose.server.place import Place
from tasks.platforms.data_folder import (
    FIRST_OF_USERS,
    complaint,
    misfit,
    read_control,
    what_is_in,
)
from tasks.platforms.servers import Access, Control, Folder

_PART, _STATUS = "\x1e", "\x1f"
# -C has to come first for root to be let in; it reads the configuration and ends.
_LOOK = r"""
d=$1; first=$2; shift 2
part() { printf '\036%s\n' "$1"; }
[ -d "$d" ] || exit 0
part access; stat -c '%u %g %a' "$d"
part names; ls -A "$d"
part inside; [ -e "$d/PG_VERSION" ] && stat -c '%u %g %a' "$d/PG_VERSION"
part version; [ -e "$d/PG_VERSION" ] && cat "$d/PG_VERSION"
part users; {
  find "$d/base" -mindepth 1 -maxdepth 2
  find "$d/pg_tblspc" -mindepth 1 -maxdepth 1 | sed "s,.*,/$first,"
} 2>/dev/null | awk -F/ -v first="$first" \
  '{ n = $NF; sub(/[._].*/, "", n); if (n ~ /^[0-9]+$/ && n + 0 >= first) { print; exit } }'
part pid; [ -e "$d/postmaster.pid" ] && cat "$d/postmaster.pid"
part written; [ -e "$d/global/pg_control" ] && stat -c %Y "$d/global/pg_control"
part free; for p in "$d" "$d/pg_wal"; do [ -d "$p" ] && df -P -k "$p/." | tail -n 1; done
part programs; postgres --version
if [ -e "$d/global/pg_control" ]; then
  part control; pg_controldata -D "$d" 2>&1; printf '\037%s' "$?"
fi
if [ -e "$d/PG_VERSION" ]; then
  part complaint; postgres -C data_directory -D "$d" "$@" 2>&1 >/dev/null; printf '\037%s' "$?"
fi
exit 0
"""


@dataclass(frozen=True)
class Inside:
    """What is in the place of a data folder.

    Args:
        folder: What it is.
        access: Who may enter it, None where it is missing.
        access_inside: The same of the files that the server made in it.
        pid_text: What postmaster.pid says, None where there is none.
        control: The control file, None where it cannot be read.
        damage: What is wrong with it, '' for nothing.
        written: When the control file was written last, as Unix time.
        versions: Why the image's programs do not fit the data, '' where they do.
        configuration: What the server says against its configuration, '' for nothing.
        is_standby: Whether its configuration makes it a standby.
        manager: What else starts and stops it, '' for nothing known.
        free_bytes: Bytes free in the folder's file system, or in pg_wal's where that has less;
            None where unknown.
    """

    folder: Folder
    access: Access | None = None
    access_inside: Access | None = None
    pid_text: str | None = None
    control: Control | None = None
    damage: str = ""
    written: float = 0.0
    versions: str = ""
    configuration: str = ""
    is_standby: bool = False
    manager: str = ""
    free_bytes: int | None = None


def look_inside(beside: BesideData, place: Place) -> Inside:
    """Look into the place of a data folder; changes nothing.

    Args:
        beside: Runs what looks.
        place: Where it is.

    Returns:
        What is there.

    Raises:
        Transient: The engine does not answer.
        PreconditionFailed: It refuses, or the image has not what is needed to look.
    """
    done = beside.look(_LOOK, place.data, str(FIRST_OF_USERS), *place.arguments)
    if done is None:
        return Inside(Folder.MISSING)
    parts = dict(part.partition("\n")[::2] for part in done.output.split(_PART)[1:])
    if done.status or (parts and "programs" not in parts):
        raise PreconditionFailed(
            expected=f"sh in the image of {place.name} to look into {place.data}.",
            found=f"it ended with status {done.status}.",
            state="Nothing was changed.",
            todo=f"Look whether {place.name} is PostgreSQL's: `database_service` of the target.",
        )
    if not parts:
        return Inside(Folder.MISSING)
    names = parts["names"].split("\n")[:-1]
    control, damage = read_control(*_ended(parts["control"])) if "control" in parts else (None, "")
    folder = what_is_in(names, has_control="control" in parts, has_users=bool(parts["users"]))
    if folder is Folder.WHOLE and "control" not in parts:
        damage = "there is no global/pg_control"
    is_whole = folder is Folder.WHOLE
    return Inside(
        folder=folder,
        access=_access(parts["access"]),
        access_inside=_access(parts["inside"]),
        pid_text=parts["pid"] if "postmaster.pid" in names else None,
        control=control if is_whole else None,
        damage=damage if is_whole else "",
        written=float(parts["written"] or 0),
        versions=misfit(parts["version"].strip(), parts["programs"].strip()),
        configuration=complaint(*_ended(parts["complaint"]))
        if is_whole and "complaint" in parts
        else "",
        is_standby="standby.signal" in names,
        manager="Patroni" if "patroni.dynamic.json" in names else "",
        free_bytes=_free(parts["free"]),
    )


def _ended(said: str) -> tuple[str, int]:
    text, _, status = said.rpartition(_STATUS)
    return text, int(status)


def _access(said: str) -> Access | None:
    user, group, mode = said.split() if said.strip() else ("", "", "")
    return Access(int(user), int(group), int(mode, 8)) if mode else None


def _free(said: str) -> int | None:
    return min((int(found[1]) * 1024 for found in re.finditer(r"(\d+) +\d+%", said)), default=None)
