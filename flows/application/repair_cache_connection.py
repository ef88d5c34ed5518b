"""Find out why the application does not get on with its cache, and mend the side asked for."""

import enum

from tasks.application.answers import find_unproved
from tasks.application.serves import ApplicationServes
from tasks.application.settings_change import ChangeSettings, TakeSettingsUp
from tasks.cache.checks import ApplicationUsesCache
from tasks.cache.faults import ON_APPLICATION, ON_SERVER, CacheFaults, find_cache_faults
from tasks.cache.password_changes import AddPassword
from tasks.cache.remaking import RemakeCache
from tasks.cache.start import StartCache
from tasks.cache.tries import Wrong
from tasks.cache.user_repair import RepairCacheUser
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Effects, Finding, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName
from tasks.secrets.generated import GeneratePassword


class CacheSide(enum.StrEnum):
    """Which side is mended."""

    FIND = "find"
    SERVER = "server"
    APPLICATION = "application"
    BOTH = "both"


_MENDED = {
    CacheSide.FIND: frozenset[Wrong](),
    CacheSide.SERVER: ON_SERVER,
    CacheSide.APPLICATION: ON_APPLICATION,
    CacheSide.BOTH: ON_SERVER | ON_APPLICATION,
}
_OF_USER = (Wrong.CLOSED, Wrong.PASSWORD, Wrong.RIGHTS)


@remediation(
    guide="Application Issues / API Endpoints Returning 500 Errors / Redis Connection Issues"
)
def repair_cache_connection(target: TargetName, side: CacheSide = CacheSide.FIND) -> Plan:
    """Find out by trying why the application does not get on with its cache, and mend it.

    The guide asks PING, which a cache answers that refuses each write (full, a read-only copy),
    and that is no answer for another address, user or password; one whose save failed refuses PING
    as well. /health answers 200 all the while. No value of a secret is shown.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        side: "find": say what is wrong and which side mends it; "server": the cache is started,
            or its user made to fit the application's settings; "application": its settings are
            changed to fit the server, with a new password where the present one does not fit;
            "both": each on its own side, a password on the server's.

    Changes:
        side "server": the cache is started as it was last; its user is switched on, let in with
        the application's password beside those that are right, or given the rights that it
        lacks, live and in the file from which the cache starts; a container with an older
        password in its command is made anew. Side "application": address, port, number or
        password in its settings. Replicas that were started with other settings are restarted
        one after the other.

    Undo:
        The user and the settings are as before, the file byte for byte; replicas run with what
        the settings say. A cache that was started goes on running.
    """
    found = find_cache_faults(target)
    changes = _plan(found, side)
    return Plan(
        name="repair",
        title=f"Have the application get on with its cache again (side={side})"
        if changes
        else "Say why the application does not get on with its cache",
        risk=Risk.DISRUPTIVE,
        findings=(*found.findings, *_advice(found, side)),
        changes=changes,
        checks=(ApplicationUsesCache(),),
        watches=(ApplicationServes(),),
        effects=Effects(outage="none beyond the present one", lost="nothing"),
        notes=find_unproved(target),
    )


def _advice(found: CacheFaults, side: CacheSide) -> tuple[Finding, ...]:
    if side is not CacheSide.FIND:
        return ()
    if found.why_no_place:
        return (
            Finding(
                what="The cache's user cannot be looked at, or not be changed so that it lasts.",
                how="ACL LIST and CONFIG GET of the cache, and the file from which it starts",
                patch=found.why_no_place,
            ),
        )
    mendable = set(found.wrong) & _MENDED[CacheSide.BOTH]
    sides = [one for one in CacheSide if mendable and mendable <= _MENDED[one]]
    if not sides:
        return ()
    # Whoever can do it alone, before both.
    named = [one for one in sides if one is not CacheSide.BOTH] or sides
    return (
        Finding(
            what=f"{'All' if mendable == set(found.wrong) else 'The rest'} of it is mended by "
            f"side={' or side='.join(named)}.",
            how="the table above",
            patch="\n".join(f"remedy run repair-cache-connection --param side={s}" for s in named),
        ),
    )


def _plan(found: CacheFaults, side: CacheSide) -> tuple[Change, ...]:
    if side is CacheSide.FIND or not found.wrong:
        return ()
    mended = {one: found.wrong[one] for one in found.wrong if one in _MENDED[side]}
    # What neither side mends is told, and keeps nobody from mending the rest.
    left = [
        found.wrong[one]
        for one in found.wrong
        if one not in _MENDED[side] and one in _MENDED[CacheSide.BOTH]
    ]
    if left:
        raise PreconditionFailed(
            expected=f"faults that are mended by changing side {side}.",
            found=f"{'; '.join(left)}.",
            todo="Run it with side=find for what mends which, or with side=both.",
        )
    keep = f"cache-{remediation_id()}"
    anew = side is CacheSide.APPLICATION and Wrong.PASSWORD in mended
    changes: list[Change] = [StartCache()] if Wrong.DOWN in mended else []
    if found.remade and not anew:
        changes.append(RemakeCache(needs=()))
    elif anew or set(mended) & set(_OF_USER):
        changes += _on_user(found, keep, mended, anew=anew)
    return (*changes, *_on_settings(found, keep, mended, anew=anew))


def _on_user(
    found: CacheFaults, keep: str, mended: dict[Wrong, str], *, anew: bool
) -> list[Change]:
    if found.place is None or (Wrong.RIGHTS in mended and not found.grants):
        raise PreconditionFailed(
            expected=f"a cache whose user {found.user} can be changed so that its next start "
            "keeps it: in an aclfile or its configuration file.",
            found=found.why_no_place or "its users cannot be seen.",
            todo="Give the target `cache_user` and `cache_password` of one who may run ACL and "
            "CONFIG there; or where the cache's command has the password, side=server.",
        )
    if anew:
        purpose = f"a password for user {found.user} of the cache"
        return [
            GeneratePassword(name=keep, purpose=purpose),
            AddPassword(
                user=found.user, secret=keep, first=False, place=found.place, path=found.path
            ),
        ]
    return [
        RepairCacheUser(
            needs=(StartCache.kind,) if Wrong.DOWN in mended else (),
            user=found.user,
            wrong=tuple(one for one in _OF_USER if one in mended),
            grants=found.grants,
            number=int(found.right.get(found.variables.number, "0")),
            variable=found.variables.password,
            place=found.place,
            path=found.path,
            keep=keep,
        )
    ]


def _on_settings(
    found: CacheFaults, keep: str, mended: dict[Wrong, str], *, anew: bool
) -> tuple[Change, ...]:
    password = found.variables.password
    if not anew and not {Wrong.ADDRESS, Wrong.NUMBER} & set(mended):
        names = (*found.shown, password)
        return (TakeSettingsUp(names=names),) if Wrong.STALE in mended else ()
    return (
        ChangeSettings(
            needs=(AddPassword.kind,) if anew else (),
            before=found.shown,
            after=found.right,
            passwords={password: keep} if anew else {},
            also=() if anew else (password,),
            keep=keep,
            served=False,
        ),
    )
