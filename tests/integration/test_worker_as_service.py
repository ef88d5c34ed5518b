"""The worker as systemd and a container engine start it: by their own commands and variables."""

import configparser
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.services.platform import Platform
from deployments.services.settings import PlatformSettings
from tests.integration.test_services_fixtures import ROOT, clean_environment, live_home

UNIT = ROOT / "infra" / "worker" / "remedy-worker.service"
ENTRY = ROOT / "infra" / "worker" / "container-entry"
WITHIN_SECONDS = 180
# What unit and image have under /opt, in a mount namespace that ends with the process.
PLACED = (
    "mount -t tmpfs none /opt && mkdir /opt/remedy && mount --bind {code} /opt/remedy && "
    'cd /opt/remedy && exec "$@"'
)


def unit() -> configparser.SectionProxy:
    """Read the unit's service section."""
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment, method-assign] # systemd's names have capitals
    read.read_string(UNIT.read_text())
    return read["Service"]


def platform() -> tuple[Path, PlatformSettings]:
    """Give a platform that is up, with its home."""
    home = live_home()
    settings = Platform(home).settings
    assert settings is not None
    return home, settings


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd: apt-get install systemd"
)
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """No directive is unknown, misspelt or out of its range."""
    there = UNIT.read_text().replace("/opt/remedy/.venv/bin/python", sys.executable)
    (tmp_path / UNIT.name).write_text(there)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / UNIT.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to put the code under /opt")
@pytest.mark.parametrize("way", ["unit", "container"])
def test_worker_starts_and_drains(way: str, tmp_path: Path) -> None:
    """Started by the command and the variables of each way, it takes runs, and ends when told."""
    home, settings = platform()
    command = [str(ENTRY)] if way == "container" else shlex.split(unit()["ExecStart"])
    given = {
        "PREFECT_API_URL": settings.api_url,
        "REMEDY_LEDGER_URL": f"sqlite:///{home / 'ledger.db'}",
        "REMEDY_WORKER_NAME": f"as-{way}",
        "REMEDY_HOME": str(home),
        "PREFECT_HOME": str(tmp_path),
    }
    stated = dict(word.split("=", 1) for word in shlex.split(unit()["Environment"]))
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", PLACED.format(code=ROOT), "sh", *command],
            env={**clean_environment(home), **stated, **given},
            stdout=output,
            stderr=output,
        )
    give_up = time.monotonic() + WITHIN_SECONDS
    while f"worker 'as-{way}' takes" not in log.read_text():
        assert worker.poll() is None, log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.1)
    worker.send_signal(getattr(signal, unit()["KillSignal"]))
    assert worker.wait(180) == 0, log.read_text()


@pytest.mark.parametrize("missing", ["PREFECT_API_URL", "REMEDY_LEDGER_URL"])
def test_container_says_what_is_missing(missing: str) -> None:
    """Without an API or a ledger it ends at once, and names the variable."""
    given = {"PREFECT_API_URL": "http://localhost/api", "REMEDY_LEDGER_URL": "sqlite:///x"}
    done = subprocess.run(
        [ENTRY],
        env={"PATH": os.environ["PATH"], **{k: v for k, v in given.items() if k != missing}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"set {missing}" in done.stderr
