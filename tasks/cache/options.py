"""Options of a cache's server: live, and in the file from which it starts.

Sources: Redis manual, CONFIG SET; redis.conf, "MEMORY MANAGEMENT".
"""

import re
from collections.abc import Mapping
from typing import ClassVar

from tasks.guardrails import faults
from tasks.guardrails.plan import Answer, Change, Check, Loss, Observed, Standing, Verdict, Work
from tasks.platforms import targets

MEMORY, POLICY = "maxmemory", "maxmemory-policy"


def shown(options: Mapping[str, str]) -> str:
    """Write options as people read them."""
    return ", ".join(
        f"{name} {_mib(int(value)) if name == MEMORY else value}" for name, value in options.items()
    )


def _mib(amount: int) -> str:
    return f"{amount / 2**20:,.0f} MiB" if amount else "0 (no limit)"


def options_in(text: str) -> dict[str, str]:
    """Read the options of a configuration file; of one that is there twice the last counts.

    Args:
        text: What it says.
    """
    found = {}
    for line in text.splitlines():
        words = line.split(None, 1)
        if len(words) > 1 and not words[0].startswith("#"):
            found[words[0].lower()] = words[1].strip()
    return found


def with_options(text: str, options: Mapping[str, str]) -> str:
    """Say options in a configuration file, each where it is said last, else at its end.

    Args:
        text: What it says.
        options: Value by name.
    """
    for name, value in options.items():
        pattern = re.compile(
            rf"^([ \t]*{re.escape(name)}[ \t]+)\S.*$", re.MULTILINE | re.IGNORECASE
        )
        found = list(pattern.finditer(text))
        if found:
            last = found[-1]
            text = f"{text[: last.start()]}{last[1]}{value}{text[last.end() :]}"
        else:
            text += f"{'' if text.endswith(chr(10)) or not text else chr(10)}{name} {value}\n"
    return text


class SetCacheOptions(Change):
    """Give a cache's server other options while it runs.

    Args:
        before: Value by name, as they are.
        after: The same, as they shall be.
    """

    kind: ClassVar[str] = "cache.set_options"
    permissions: ClassVar[tuple[str, ...]] = ("cache:configure",)

    before: dict[str, str]
    after: dict[str, str]

    @property
    def title(self) -> str:
        """What the change does."""
        return f"have the cache work with {shown(self.after)}, without a restart"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return tuple(f"option {name} of the cache" for name in self.after)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return shown(self.before), shown(self.after)

    def observe(self, work: Work) -> Observed:
        """Ask the server."""
        with targets.load(work.target).cache_server.connect() as client:
            now = {name: str(client.config_get(name).get(name, "")) for name in self.after}
        if now == self.after:
            return Observed(Standing.AFTER, shown(now))
        if now == self.before:
            return Observed(Standing.BEFORE, shown(now))
        mixed = all(now[name] in (self.before[name], self.after[name]) for name in now)
        half = mixed and work.begun_at is not None
        return Observed(Standing.HALF if half else Standing.OTHER, shown(now))

    def apply(self, work: Work) -> None:
        """Set them, one after the other."""
        self._set(work, self.after)

    def revert(self, work: Work) -> None:
        """Set the old ones."""
        self._set(work, self.before)

    def _set(self, work: Work, options: Mapping[str, str]) -> None:
        with targets.load(work.target).cache_server.connect() as client:
            for name, value in options.items():
                client.config_set(name, value)
                faults.point(f"{self.kind}:one-set")

    def undo_loss(self, work: Work) -> Loss | None:
        """Say what has no room under the old limit of memory."""
        most = int(self.before.get(MEMORY, "0"))
        if not most:
            return None
        with targets.load(work.target).cache_server.connect() as client:
            used = int(client.info("memory")["used_memory"])
        if used <= most:
            return None
        return Loss(
            amount=used - most,
            unit="bytes of the cache",
            sentence=f"{(used - most) / 2**20:,.0f} MiB of what is cached have no room under the "
            f"{most / 2**20:,.0f} MiB of before: the cache evicts them, or refuses writes.",
        )


class SetCacheOptionsInFile(Change):
    """Say options in the file from which a cache's server starts.

    Args:
        path: The file, where the server runs.
        before: What it says of them; nothing of those that it does not name.
        after: What it shall say.
        keep: Under this name the text as it was is kept as a secret: passwords may be in it.
    """

    kind: ClassVar[str] = "cache.set_options_in_file"
    permissions: ClassVar[tuple[str, ...]] = ("cache:configure", "secrets:write")

    path: str
    before: dict[str, str]
    after: dict[str, str]
    keep: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"say {', '.join(self.after)} in {self.path}, for its next start"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"file {self.path} of the cache",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        said = ", ".join(f"{name} {value}" for name, value in self.before.items())
        return said or "the file does not say them", shown(self.after)

    def observe(self, work: Work) -> Observed:
        """Read the file; whatever else is there may change."""
        now = self._said(targets.load(work.target).cache_server.read_file(self.path))
        words = ", ".join(f"{name} {value}" for name, value in now.items()) or "none of them"
        if now == self.after:
            return Observed(Standing.AFTER, f"it says {words}")
        return Observed(
            Standing.BEFORE if now == self.before else Standing.OTHER, f"it says {words}"
        )

    def _said(self, text: str) -> dict[str, str]:
        found = options_in(text)
        return {name: found[name] for name in self.after if name in found}

    def apply(self, work: Work) -> None:
        """Keep the text, then write it with the new values."""
        system = targets.load(work.target)
        text = system.cache_server.read_file(self.path)
        system.secrets.keep(self.keep, {"text": text})
        faults.point(f"{self.kind}:kept")
        system.cache_server.write_file(self.path, with_options(text, self.after))

    def revert(self, work: Work) -> str:
        """Put the text back; where others edited it since, only our lines."""
        system = targets.load(work.target)
        kept, done = system.secrets.read(self.keep), "nothing was written"
        if kept is not None:
            server = system.cache_server
            now, old = server.read_file(self.path), kept["text"]
            done = "byte for byte as before"
            if now == with_options(old, self.after):
                server.write_file(self.path, old)
            elif now != old:
                server.write_file(self.path, _without(now, self.before, self.after))
                done = "what others edited since stays"
            system.secrets.forget(self.keep)
        return done


def _without(text: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Say the old values again; what was not there before goes."""
    added = {f"{name} {value}" for name, value in after.items() if name not in before}
    lines = [one for one in text.splitlines(keepends=True) if one.strip() not in added]
    return with_options("".join(lines), before)


class CacheKeepsOptions(Check):
    """A cache works with options.

    Args:
        options: Value by name.
    """

    kind: ClassVar[str] = "cache.keeps_options"

    options: dict[str, str]

    @property
    def title(self) -> str:
        """The claim."""
        return f"the cache works with {shown(self.options)}"

    def ask(self, work: Work) -> Answer:
        """Ask the server."""
        with targets.load(work.target).cache_server.connect() as client:
            now = {name: str(client.config_get(name).get(name, "")) for name in self.options}
            memory = client.info("memory")
        used, most = int(memory["used_memory"]), int(memory.get("maxmemory", 0))
        room = f"; {used / 2**20:,.1f} of {most / 2**20:,.0f} MiB are in use" if most else ""
        held = now == self.options
        return Answer(Verdict.HELD if held else Verdict.NOT_HELD, f"{shown(now)}{room}")
