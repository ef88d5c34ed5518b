"""Which Python packages an image has, and in what two images differ."""

import json
from collections.abc import Mapping

from packaging.utils import canonicalize_name

from tasks.platforms.images import Images

COLUMNS = ("package", "now", "new")
_ASK = (
    "import importlib.metadata as m, json;"
    "print(json.dumps([[d.metadata['Name'], d.version] for d in m.distributions()]))"
)
_PROGRAMS = ("python", "python3")


def packages_of(images: Images, image: str) -> dict[str, str] | None:
    """Ask an image's Python for its packages, in a container of its own without network.

    Args:
        images: Where the image is.
        image: Its id or name.

    Returns:
        Version by name as packages are compared; None where it has no Python.
    """
    for program in _PROGRAMS:
        done = images.run(image, [program, "-c", _ASK])
        if done.status == 0:
            found = json.loads(done.output)
            return {canonicalize_name(name): version for name, version in found if name}
    return None


def differences(
    before: Mapping[str, str] | None, after: Mapping[str, str] | None
) -> tuple[tuple[str, ...], ...]:
    """Compare the packages of two images.

    Args:
        before: Those of one.
        after: Those of the other.

    Returns:
        Rows under `COLUMNS`; '-' where it has none.
    """
    old, new = before or {}, after or {}
    return tuple(
        (name, old.get(name, "-"), new.get(name, "-"))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )
