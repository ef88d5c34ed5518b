"""How a target's application migrates its schema, and where it lands when it is told to."""

from collections.abc import Sequence

from tasks.database.rights import Rights
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.migration_settings import MigrationSettings
from tasks.platforms.protocols import Database, System


def require_migration(system: System, rights: Rights, backup: str, live: str) -> None:
    """Refuse a backup of another schema where its migration could not be carried out.

    Args:
        system: The target.
        rights: What the maintenance user may do.
        backup: Revision of the backup's schema.
        live: Revision of live's schema.

    Raises:
        PreconditionFailed: A right or a setting is missing.
    """
    missing = missing_for_migration(system, rights)
    if missing:
        raise PreconditionFailed(
            expected=f"to bring the backup's schema {backup} to live's {live} by migrations.",
            found=f"missing: {'; '.join(missing)}.",
            todo="Give what is missing, or choose a backup of the present schema.",
        )


def missing_for_migration(system: System, rights: Rights) -> list[str]:
    """Name what is missing to migrate a copy as a role without any right in live.

    Args:
        system: The target.
        rights: What the maintenance user may do.
    """
    missing = []
    if not rights.may_create_roles:
        missing.append(f"CREATEROLE for {rights.user}, to run them without any right in live")
    if not settings_of(system).show_database:
        missing.append("`migrations.show_database` in the target, to prove where they land")
    return missing


def settings_of(system: System) -> MigrationSettings:
    """Give a target's settings of migrations, which it has to have."""
    if system.migrations is None:
        raise PreconditionFailed(
            expected="to know how the application migrates its schema.",
            found="the target does not say.",
            todo="Add `migrations` to the target, or choose a backup of the present schema.",
        )
    return system.migrations


def filled(command: Sequence[str], revision: str) -> list[str]:
    """Fill the revision into a command of the settings.

    Args:
        command: The command, with {revision}.
        revision: A revision, or two as `older:newer`.
    """
    return [part.replace("{revision}", revision) for part in command]


def environment_of(
    database: Database, settings: MigrationSettings, side: str, role: str, password: str
) -> dict[str, str]:
    """Give the variables that lead the application to the copy, as the role made for it."""
    host, port = database.address
    known = {
        "{host}": host,
        "{port}": port,
        "{database}": side,
        "{user}": role,
        "{password}": password,
    }
    variables = {"PGAPPNAME": database.environment(side)["PGAPPNAME"]}
    for name, given in settings.environment.items():
        value = given
        for placeholder, text in known.items():
            value = value.replace(placeholder, text)
        variables[name] = value
    return variables


def insist_on(
    system: System, settings: MigrationSettings, environment: dict[str, str], side: str
) -> None:
    """Prove that the application, so configured, speaks to the copy and not to live."""
    if not settings.show_database:
        raise PreconditionFailed(
            expected="a command that shows which database the application's settings lead to.",
            found="the target does not name one.",
            todo="Add `migrations.show_database` to the target.",
        )
    shown = system.application.run(settings.show_database, environment)
    if shown.status != 0 or shown.output.strip() != side:
        raise PreconditionFailed(
            expected=f"the application to speak to {side} with the settings given.",
            found=f"{' '.join(settings.show_database)} gave {shown.output.strip()!r}, "
            f"status {shown.status} {shown.errors[-300:].strip()}",
            state="No migration was run.",
            todo="Correct `migrations.environment` of the target.",
        )
