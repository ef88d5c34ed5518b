"""Where a cache's next start has its options from, and what says them there."""

from collections.abc import Mapping

from tasks.cache.options import SetCacheOptionsInFile, options_in, shown
from tasks.cache.options_in_compose import SetCacheOptionsInCompose, says_in_command, with_command
from tasks.containers.file_edits import edited_files
from tasks.containers.sole_edit import insist_on_sole_edit
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change
from tasks.platforms.protocols import System


def find_kept(
    system: System,
    file: str,
    before: dict[str, str],
    after: dict[str, str],
    remediation: str,
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Find what has a cache's next start work with options: its file, or its command.

    Args:
        system: The target.
        file: The file from which it was started, '' for none.
        before: The options as they are live.
        after: The same, as they shall be.
        remediation: Id of the remediation.

    Returns:
        The changes, and what the approver should know.

    Raises:
        PreconditionFailed: Neither can be written from here.
    """
    server, texts = system.cache_server, _compose_texts(system)
    service = server.address[0]
    if file and server.finds_again(file) and not says_in_command(texts, service, after):
        said = options_in(server.read_file(file))
        change = SetCacheOptionsInFile(
            path=file,
            before={name: said[name] for name in after if name in said},
            after=after,
            keep=f"cache-options-{remediation}",
        )
        return (change,), ()
    if not texts:
        raise PreconditionFailed(
            expected="a configuration file of the cache that can be written to from here, so that "
            "its next start finds the options.",
            found=f"{file} cannot." if file else "it was started without one.",
            todo=f"Say {shown(after)} where its next start finds it, by hand.",
        )
    reading = system.definition.read()
    new = with_command(texts, service, after)
    insist_on_sole_edit(reading, system.definition.read(new), service, "command", ("command",))
    edit = SetCacheOptionsInCompose(
        files=edited_files(texts, new),
        keep=f"compose-{remediation}",
        service=service,
        before=before,
        after=after,
    )
    note = f"nothing is restarted; the next `up -d` makes the container of {service} anew, as its "
    return (edit,), (f"{note}command is another one",)


def _compose_texts(system: System) -> Mapping[str, str]:
    """Read the files that define its services; nothing where the platform has none."""
    try:
        definition = system.definition
    except PreconditionFailed:
        return {}
    return definition.texts()
