"""Ports are chosen before anybody listens on them, and by several processes at once."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MANY = 200
CHOOSES = f"""
from infra.sandbox.settings import choose_port
print([choose_port() for _ in range({MANY})], flush=True)
input()
"""


def test_who_chooses_at_once_gets_other_ports() -> None:
    """What one process has chosen no other does, though nobody listens there yet."""
    choosing = [
        subprocess.Popen(
            [sys.executable, "-c", CHOOSES],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    chosen: list[int] = []
    for one in choosing:
        assert one.stdout
        chosen += json.loads(one.stdout.readline())
    for one in choosing:
        one.communicate("\n")
        assert one.returncode == 0
    assert len(set(chosen)) == len(chosen) == 3 * MANY
