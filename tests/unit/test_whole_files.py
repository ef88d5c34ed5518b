"""A file is written whole or not at all, wherever the writer is killed."""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = b"old\n" * 4000, b"new\n" * 5000
# Dies at the n-th line that it executes in the module, or for it in pathlib.
DIES = """
import os, runpy, signal, sys
path, module, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
from pathlib import Path
write = runpy.run_path(module)["write_whole"]
seen = 0
def trace(frame, event, _):
    global seen
    if frame.f_code.co_filename != module and not frame.f_code.co_filename.endswith("pathlib.py"):
        return None
    if event == "line":
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
sys.settrace(trace)
write(Path(path), b"new\\n" * 5000)
"""


def test_killed_at_any_line_it_is_the_old_or_the_new_file(tmp_path: Path) -> None:
    """With the old rights; a writer that comes after it is not in its way."""
    module = str(ROOT / "tasks" / "platforms" / "whole_files.py")
    link = tmp_path / "docker-compose.yml"
    (tmp_path / "real").mkdir()
    file = tmp_path / "real" / "compose.yml"
    link.symlink_to(file)
    ended, at = -signal.SIGKILL, 0
    seen = set()
    while ended == -signal.SIGKILL:
        at += 1
        file.write_bytes(OLD)
        file.chmod(0o640)
        ended = subprocess.run(
            [sys.executable, "-S", "-E", "-c", DIES, str(link), module, str(at)], check=False
        ).returncode
        assert file.read_bytes() in {OLD, NEW}
        assert file.stat().st_mode & 0o777 == 0o640
        assert link.is_symlink()
        seen.add(file.read_bytes())
    assert ended == 0
    assert at > 10
    assert seen == {OLD, NEW}
    assert [one.name for one in file.parent.iterdir()] == ["compose.yml"]
