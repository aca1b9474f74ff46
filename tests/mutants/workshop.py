"""
A copy of the tree in which bugs are planted. The tree itself is never touched.

Tests run in the copy and must import the copy's code, though pgswarm may be installed from the tree: that is asked
once, with the same Python, folder and environment.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.index import Finder, Mutant
from tests.mutants.patches import parse, planted

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("crds", "reconcilers", "controlplane", "tests")
FAILED = (1, 2, 4)
"""Of pytest and our own commands: a test failed, or could not even be made, which without the bug it could."""
SHOWN_MAX = 160

_WHERE = f"import {', '.join(PACKAGES)}\n" + "\n".join(f"print({name}.__path__[0])" for name in PACKAGES)


class NotTheCopy(Exception):
    """Tests in the copy would import the code from elsewhere."""


@dataclass(frozen=True, slots=True)
class Run:
    """How one run of a finder ended."""

    failed: bool
    ended: bool
    """False: it did not run to its end as tests do; `said` tells."""
    said: str
    seconds: float


class Workshop:
    """One copy; one run at a time."""

    def __init__(self, folder: Path, limit_s: float) -> None:
        self._folder, self._limit_s = folder, limit_s
        self._clean: dict[Finder, Run] = {}

    def clean(self, finder: Finder) -> Run:
        """The run without any bug, made once."""
        if finder not in self._clean:
            self._clean[finder] = self.run(finder)
        return self._clean[finder]

    @contextmanager
    def with_bug(self, mutant: Mutant) -> Iterator[None]:
        """Raises: DoesNotApply."""
        spoilt = planted(self._folder, parse(mutant.patch.read_text()))
        before = {name: (self._folder / name).read_text() for name in spoilt}
        try:
            for name, text in spoilt.items():
                (self._folder / name).write_text(text)
            yield
        finally:
            for name, text in before.items():
                (self._folder / name).write_text(text)

    def run(self, finder: Finder) -> Run:
        began_s = time.monotonic()
        code, output = self._python(finder.command)
        seconds = time.monotonic() - began_s
        if code is None:
            return Run(True, True, f"not at its end after {self._limit_s:.0f} s", seconds)
        said = _last_word(output)
        return Run(code in FAILED, code in (0, *FAILED), said if code else "", seconds)

    def _python(self, arguments: Sequence[str]) -> tuple[int | None, str]:
        with subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self._folder,
            env=_environment(self._folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=self._limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return None, ""
            return process.returncode, output

    def check(self) -> None:
        """Raises: NotTheCopy."""
        code, output = self._python(["-c", _WHERE])
        places = output.split()
        if code != 0 or [Path(one).parent for one in places] != [self._folder] * len(PACKAGES):
            raise NotTheCopy(output)


@contextmanager
def workshop(limit_s: float) -> Iterator[Workshop]:
    """
    Args:
        limit_s: Seconds that one run may take.

    Raises: NotTheCopy.
    """
    folder = Path(tempfile.mkdtemp(prefix="pgswarm-mutants-")).resolve()
    try:
        _copy(folder)
        # Compiled once and checked by content: a date is too coarse for files that change twice a second.
        compile_all = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
        subprocess.run([*compile_all, *PACKAGES], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        made = Workshop(folder, limit_s)
        made.check()
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(folder: Path) -> None:
    """Everything that git has, or would take if it was asked."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in sorted({name for name in listed.split("\0") if (ROOT / name).is_file()}):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def _last_word(output: str) -> str:
    """The first test that failed, or the last line that was said."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    said = (failed or lines[-1:] or [""])[0]
    return said[:SHOWN_MAX]
