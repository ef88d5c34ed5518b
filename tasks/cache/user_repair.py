"""Let a user of the cache log in, and do what an application has to, with the password it has."""

import json
from typing import ClassVar

from tasks.cache.keeping import Place, as_kept, give_back
from tasks.cache.tries import Wrong, find_grants
from tasks.cache.users import CacheUser, hash_of, read_user, user_in, with_line
from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.cache_servers import CacheLogin
from tasks.platforms.protocols import System


class RepairCacheUser(Change):
    """Switch a user on, let it in with the application's password as well, or give it rights.

    Passwords that are right stay so: who else logs in with one goes on. The server is told a
    hash.

    Args:
        user: The user of the cache's server.
        wrong: What is mended of it: closed, password, rights.
        grants: The rights that it lacks, in the words of ACL SETUSER.
        number: Number of the database that the application uses.
        variable: Name of the application's setting with the password.
        place: Where the server has its users from when it starts.
        path: The file.
        keep: Under this name, with `-user` behind it, the user as it was is kept as a secret.
    """

    kind: ClassVar[str] = "cache.repair_user"
    permissions: ClassVar[tuple[str, ...]] = ("cache:acl", "cache:configure", "secrets:write")

    user: str
    wrong: tuple[Wrong, ...]
    grants: tuple[str, ...] = ()
    number: int = 0
    variable: str
    place: Place
    path: str
    keep: str

    @property
    def title(self) -> str:
        """What the change does."""
        what = {
            Wrong.CLOSED: "switch it on",
            Wrong.PASSWORD: "let it in with the application's password as well",
            Wrong.RIGHTS: f"give it {' '.join(self.grants)}",
        }
        return f"user {self.user} of the cache: {', '.join(what[one] for one in self.wrong)}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"user {self.user} of the cache",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        what = ", ".join(self.wrong)
        return (
            f"{self.user}: {what}",
            f"{self.user} logs in and may use the cache, from {self.path}",
        )

    def observe(self, work: Work) -> Observed:
        """Compare the user, live and in its file, with what it was and shall be."""
        system = targets.load(work.target)
        with system.cache_server.connect() as client:
            now = read_user(client, self.user)
            lacks = find_grants(client, now, system.cache, self.number)
        left = self._left(system, now, lacks)
        kept = system.secrets.read(self._kept)
        written = user_in(system.cache_server.read_file(self.path), self.user)
        if not left and written == now:
            return Observed(Standing.AFTER, f"{self.user} has it, live and in {self.path}")
        if kept is None:
            if len(left) == len(self.wrong):
                return Observed(Standing.BEFORE, f"{self.user}: {', '.join(left)}")
            return Observed(Standing.OTHER, f"{self.user} has been changed since: {now.rules}")
        standing = Standing.HALF if work.begun_at else Standing.BEFORE
        return Observed(standing, f"{self.user} is kept as it was; left: {', '.join(left) or '-'}")

    def _left(self, system: System, now: CacheUser, lacks: tuple[str, ...]) -> list[Wrong]:
        hashed = hash_of(system.application.settings().get(self.variable, ""))
        mended = {
            Wrong.CLOSED: now.active,
            Wrong.PASSWORD: now.accepted.anybody or hashed in now.accepted.hashes,
            Wrong.RIGHTS: not set(self.grants) & set(lacks),
        }
        return [one for one in self.wrong if not mended[one]]

    def apply(self, work: Work) -> None:
        """Keep the user as it is, change it by one command, write it down, log in.

        Raises:
            PreconditionFailed: It still cannot log in.
        """
        system = targets.load(work.target)
        server, settings = system.cache_server, system.application.settings()
        password = settings.get(self.variable, "")
        with server.connect() as client:
            before = read_user(client, self.user)
            system.secrets.keep(
                self._kept,
                {"line": json.dumps(_words(before)), **as_kept(server, client, self.path)},
            )
            faults.point(f"{self.kind}:kept")
            words = ["on"] if Wrong.CLOSED in self.wrong else []
            words += [f"#{hash_of(password)}"] if Wrong.PASSWORD in self.wrong else []
            # redis-py has no types for it.
            client.execute_command("ACL", "SETUSER", self.user, *words, *self.grants)  # type: ignore[no-untyped-call]
            faults.point(f"{self.kind}:live")
            now = read_user(client, self.user)
            if self.place is Place.ACLFILE:
                client.acl_save()
            else:
                text = server.read_file(self.path)
                server.write_file(self.path, with_line(text, now.name, now.line(now.accepted)))
        try:
            with server.log_in(CacheLogin(self.user, password)):
                pass
        except PreconditionFailed as error:
            raise PreconditionFailed(
                expected=f"user {self.user} to log in to the cache with the password in "
                f"{self.variable}.",
                found=error.found,
                state="The user is changed, and goes back with the undo.",
                todo=f"Look at it: ACL GETUSER {self.user}",
            ) from error

    def revert(self, work: Work) -> None:
        """Give the user back exactly what it had, live and in its file."""
        system = targets.load(work.target)
        kept = system.secrets.read(self._kept)
        if kept is None:
            return
        server = system.cache_server
        with server.connect() as client:
            words = json.loads(kept["line"])
            # As one command: there is no moment without its rights.
            client.execute_command("ACL", "SETUSER", self.user, "reset", *words)  # type: ignore[no-untyped-call]
            faults.point(f"{self.kind}:reverted")
            written = user_in(server.read_file(self.path), self.user)
            if written is not None:
                give_back(server, client, self.place, self.path, written, kept)
        system.secrets.forget(self._kept)

    @property
    def _kept(self) -> str:
        return f"{self.keep}-user"


def _words(user: CacheUser) -> list[str]:
    """Give a user in the words of ACL SETUSER, after `reset`."""
    accepted = [one for one in user.accepted.words() if one != "resetpass"]
    return ["on" if user.active else "off", *accepted, *user.rules]
