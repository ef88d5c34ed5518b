"""With what a service is known to have worked where only the engine's events say it."""

import re
from types import SimpleNamespace
from typing import Any

from tasks.containers.last_sound import find_known, record_name
from tasks.containers.standing import Standing
from tasks.platforms.containers import ContainerEvent


def test_any_service_has_a_record_of_its_own() -> None:
    """Names of services may hold more than those of secrets."""
    names = [record_name(one) for one in ("app", "celery_beat", "celery.beat", "App")]
    assert names[0] == "sound-app"
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z0-9-]{1,101}", one) for one in names)


def test_the_last_image_that_was_healthy_comes_first() -> None:
    """An end, a start, or an image that was never well counts for nothing; settings are unknown."""
    said = [
        (1.0, "health_status: healthy", "older"),
        (2.0, "health_status: healthy", "newer"),
        (3.0, "health_status: unhealthy", "bad"),
        (4.0, "die", "bad"),
        (5.0, "health_status: healthy", ""),
    ]
    events = tuple(ContainerEvent(at, what, "gone", image, "") for at, what, image in said)
    none: frozenset[str] = frozenset()
    standing = Standing((), events, (), none, none, 6.0)
    system: Any = SimpleNamespace(secrets=SimpleNamespace(read=lambda _name: None))
    found = find_known(system, "app", standing)
    assert [one.image for one in found] == ["newer", "older"]
    assert "was healthy on 1970-01-01" in found[0].how
    assert found[0].settings is None
