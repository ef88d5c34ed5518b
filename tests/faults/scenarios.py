"""What gives each remediation something to do; one without a scenario meets a sound sandbox."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flows.database.back_up_database import back_up_database
from flows.database.restore_from_backup import restore_from_backup
from infra.sandbox.damage import Damage, damage

if TYPE_CHECKING:
    from tests.faults.scene import Scene

# Breaks the sandbox, and gives the parameters beside the target.
Scenario = Callable[["Scene"], dict[str, Any]]


def nothing(scene: "Scene") -> dict[str, Any]:
    """Leave the sandbox as it is."""
    assert scene
    return {}


def rows_deleted(scene: "Scene") -> dict[str, Any]:
    """Delete what was backed up."""
    if not scene.backups():
        scene.carry_out(back_up_database)
        scene.keep_backups()
    damage(scene.sandbox, Damage.ROWS_DELETED)
    return {}


def restored(scene: "Scene") -> dict[str, Any]:
    """Delete what was backed up, and restore it: that is taken back."""
    return {"remediation": scene.carry_out(restore_from_backup, **rows_deleted(scene))}


SCENARIOS: dict[str, Scenario] = {
    "restore_from_backup": rows_deleted,
    "undo_remediation": restored,
}
