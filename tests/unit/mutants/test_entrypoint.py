"""The lock that keeps two containers off one data directory. Runs the image's own entrypoint, but for its folder."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

ENTRYPOINT = Path(__file__).parents[3] / "images" / "postgres" / "entrypoint"
HOME = "/var/lib/pgswarm"
LOCKED, NO_CONFIGURATION = 75, 78


def start(home: Path) -> subprocess.CompletedProcess[str]:
    """As far as it comes: there is no configuration, which is what it looks for behind the lock."""
    text = ENTRYPOINT.read_text()
    assert text.count(HOME) >= 1
    program = home.parent / "entrypoint"
    program.write_text(text.replace("/tmp/.", f"{home.parent}/.").replace(HOME, str(home)))
    argv = ["sh", str(program), str(home / "none.yml")]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


def test_a_second_container_on_the_same_data_does_not_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with open(home / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = start(home)

    assert second.returncode == LOCKED
    assert "another instance runs on this data directory" in second.stderr


def test_the_lock_of_a_container_that_is_dead_is_free(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with open(home / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
    first = start(home)

    assert first.returncode == NO_CONFIGURATION
    assert os.path.exists(home / ".lock")
