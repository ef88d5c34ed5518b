"""Changes beside the data of a server: nothing is ever deleted that is not elsewhere by then.

A volume cannot be given another name. What is in one that is all data folder goes into a volume of
its own, and is taken away only when that holds all of it, byte for byte.
"""

from pathlib import PurePosixPath

from docker.errors import NotFound

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.applications import Completed
from tasks.platforms.compose.engine import Engine
from tasks.platforms.compose.server.beside_data import ASIDE, BesideData
from tasks.platforms.compose.server.place import Place
from tasks.platforms.servers import Access

OF_KEPT = "remedy.kept-of"
_OTHERS = 17
_ACCESS = 'chown "$2:$3" "$1" && chmod "$4" "$1"'
# $1 the folder, $2 the other name, $3 what the file has to say.
_PID_ASIDE = r"""
[ -e "$1/postmaster.pid" ] || exit 0
[ "$(cat "$1/postmaster.pid"; echo .)" = "$3." ] || exit 0
mv "$1/postmaster.pid" "$1/$2"
"""
# A rename would replace a new one.
_PID_BACK = r"""
[ -e "$1/$2" ] || exit 0
ln "$1/$2" "$1/postmaster.pid" 2>/dev/null && rm "$1/$2"
exit 0
"""
_RENAME = '[ ! -e "$1" ] || mv "$1" "$2"'
_RENAME_BACK = rf"""
[ -e "$2" ] || exit 0
if [ -e "$1" ]; then rmdir "$1" 2>/dev/null || exit {_OTHERS}; fi
mv "$2" "$1"
"""
# What makes it a whole one goes last: one that was cut off is taken up again.
_MOVE = rf"""
set -eu
if [ ! -d {ASIDE}/whole ]; then
  rm -rf {ASIDE}/part
  mkdir {ASIDE}/part
  trap 'rm -rf {ASIDE}/part' EXIT
  cp -a "$1/." {ASIDE}/part/
  diff -rq "$1" {ASIDE}/part
  sync
  mv {ASIDE}/part {ASIDE}/whole
  sync
fi
rm -rf "$1/base"
find "$1" -mindepth 1 -maxdepth 1 ! -name lost+found ! -name global ! -name PG_VERSION \
  -exec rm -rf {{}} +
rm -rf "$1/global" "$1/PG_VERSION"
"""
_MOVE_BACK = rf"""
set -eu
[ -d {ASIDE}/whole ] || exit 0
if [ ! -e {ASIDE}/back ] && [ -n "$(ls -A "$1" | grep -vx lost+found)" ]; then exit {_OTHERS}; fi
touch {ASIDE}/back
cp -a {ASIDE}/whole/. "$1/"
diff -rq {ASIDE}/whole "$1"
sync
"""


class FolderMoves:
    """Moves a server's data folder, and what is in it; who calls knows that nobody works there.

    Args:
        engine: The engine.
        place: Where the data is.
        beside: Runs what changes.
        project: Name of the compose project.
    """

    def __init__(self, engine: Engine, place: Place, beside: BesideData, project: str) -> None:
        """Know them; changes nothing."""
        self._engine, self._place, self._beside, self._project = engine, place, beside, project

    def set_access(self, access: Access) -> None:
        """Set owner, group and mode of the data folder."""
        who = (str(access.user), str(access.group), f"{access.mode:04o}")
        self._done(self._beside.change(_ACCESS, self._place.data, *who), "set who may enter")

    def set_pid_file_aside(self, name: str, text: str) -> None:
        """Give a postmaster.pid that says `text` another name in the folder; gone is fine."""
        done = self._beside.change(_PID_ASIDE, self._place.data, name, text)
        self._done(done, "set postmaster.pid aside in")

    def put_pid_file_back(self, name: str) -> None:
        """Give postmaster.pid its name again, unless there is a new one by now."""
        self._done(self._beside.change(_PID_BACK, self._place.data, name), "put it back in")

    def set_aside(self, name: str) -> None:
        """Give the data folder another name: beside itself, or as a volume of its own.

        Args:
            name: The other name.

        Raises:
            PreconditionFailed: There is no room for it; it is as it was.
        """
        place = self._place
        if not place.is_mount:
            aside = str(PurePosixPath(place.data).with_name(name))
            self._done(self._beside.change(_RENAME, place.data, aside), "rename")
            return
        if not self._beside.is_there():
            return
        with self._engine.client() as client:
            labels = {OF_KEPT: place.mount.volume or place.mount.source}
            client.volumes.create(self.kept_as(name), labels=labels)
        self._done(
            self._beside.change(_MOVE, place.data, aside=self.kept_as(name)),
            f"move into volume {self.kept_as(name)} what is in",
        )

    def put_back(self, name: str) -> None:
        """Take `set_aside` back.

        Args:
            name: The name that it was given.

        Raises:
            PreconditionFailed: Something is in its place.
        """
        place, volume = self._place, self.kept_as(name)
        if not place.is_mount:
            aside = str(PurePosixPath(place.data).with_name(name))
            self._done(self._beside.change(_RENAME_BACK, place.data, aside), "put back")
            return
        with self._engine.client() as client:
            try:
                kept = client.volumes.get(volume)
            except NotFound:
                return
            done = self._beside.change(_MOVE_BACK, place.data, aside=volume)
            self._done(done, f"put back from volume {volume} what was in")
            kept.remove()  # all of it is in its place, byte for byte

    def kept_as(self, name: str) -> str:
        """Give the name of the volume that keeps what was set aside."""
        return f"{self._project}-{name}"

    def _done(self, done: Completed | None, what: str) -> None:
        place = self._place
        if done is not None and done.status == _OTHERS:
            raise PreconditionFailed(
                expected=f"nothing in {place.data} of {place.name}, to put back what was there.",
                found="something that is there by now.",
                state="What was set aside stays where it is.",
                todo="Look what each of them holds, and move them by hand.",
            )
        if done is None or done.status:
            said = " ".join(done.errors.split())[-300:] if done else "it is not there"
            raise PreconditionFailed(
                expected=f"to {what} {place.data} of {place.name}.",
                found=f"{said or 'it failed without a word'}.",
                state="Nothing was taken away that is not elsewhere.",
                todo="Look whether its disk has room and can be written to, then run again.",
            )
