"""Named points at which a test makes a run fail or die; they cost nothing when off."""

import os
import signal

_ARMED = os.environ.get("REMEDY_FAULT", "")


def point(name: str) -> None:
    """Die here if a test armed this point (`REMEDY_FAULT=<name>`, once per marker file).

    Args:
        name: Where in the engine we are, as 'begun:database.swap_databases'.
    """
    if not _ARMED or name != _ARMED:
        return
    marker = os.environ.get("REMEDY_FAULT_ONCE", "")
    if marker:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
