"""Give the application a new password for its cache, with no request failing."""

from tasks.application.answers import find_unproved
from tasks.application.serves import ApplicationServes
from tasks.application.settings_change import ChangeSettings
from tasks.cache.checks import ApplicationUsesCache, OldCachePasswordIsRefused
from tasks.cache.keeping import Place
from tasks.cache.logins import inspect_cache_login
from tasks.cache.password_changes import AddPassword, EndPasswords
from tasks.cache.remaking import RemakeCache
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName
from tasks.secrets.generated import GeneratePassword

_ONLY_IN_ITS_COMMAND = (
    "the cache has its password in its command: should it start anew before its container is made "
    "anew, it knows the old one alone until then"
)


@remediation(
    guide="Application Issues / API Endpoints Returning 500 Errors / Redis Connection Issues"
)
def rotate_cache_password(target: TargetName, first: bool = False) -> Plan:
    """Give the application a new password for Redis or Valkey while it serves, and end the old one.

    The server lets the same user in with both passwords while the application's replicas change
    over one after the other; the old one goes last, once no session is left that was opened with
    it. Who is refused in the seconds after that is named, and the old one is right again. The
    server is told hashes only: neither MONITOR, its slow log nor its log sees a password.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        first: Whether a cache that lets anybody in gets its first password; without it that is
            only said.

    Changes:
        A password is generated into the target's store of secrets; the cache lets its user in
        with it as well, live and in the file from which it starts; the password changes in the
        application's settings, and each replica is drained, restarted, proved and let in again;
        the old password is ended. Where the cache has it in its command, its container is made
        anew, while requests are held back.

    Undo:
        The old password is right again, live and in the file, which is as before byte for byte
        where nobody edited it; the settings are as before, the replicas are rolled back, and the
        new password is gone.
    """
    login = inspect_cache_login(target, first=first)
    if login.place is None:
        return Plan(name="rotate", title="Nothing is changed", findings=login.findings)
    secret = f"cache-{remediation_id()}"
    known = {
        "user": login.user,
        "secret": secret,
        "first": login.first,
        "place": login.place,
        "path": login.path,
    }
    remade = login.place is Place.COMMAND
    return Plan(
        name="rotate",
        title=f"Have the application log in to its cache as {login.user} with "
        f"{'its first' if login.first else 'a new'} password",
        risk=Risk.DISRUPTIVE,
        findings=login.findings,
        changes=(
            GeneratePassword(name=secret, purpose=f"a password for user {login.user} of the cache"),
            AddPassword(**known),
            # Without needs: where somebody else has changed them, nothing is begun.
            ChangeSettings(
                before=login.shown,
                after=login.shown,
                passwords={login.variable: secret},
                keep=secret,
            ),
            EndPasswords(**known, variable=login.variable),
            *((RemakeCache(),) if remade else ()),
        ),
        checks=(
            OldCachePasswordIsRefused(user=login.user, secret=secret, variable=login.variable),
            ApplicationUsesCache(),
        ),
        watches=(ApplicationServes(),),
        effects=Effects(
            outage="none: a replica serves while another is restarted"
            + ("; requests wait while the cache is made anew" if remade else ""),
            duration=f"about {10 * len(login.replicas)} s",
        ),
        notes=(
            *([_ONLY_IN_ITS_COMMAND] if remade else []),
            "who logs in seldom, as a nightly job, is not seen: give it the password first",
            *find_unproved(target),
        ),
    )
