"""
What each run came to, kept in docs/reliability.json when it is asked to `--record`: one entry a run, its last one.

`python -m tests.reference` makes docs/reliability.md of it. An entry says what was run, when, of which commit and on
how many cores, and nothing of whose machine it was. Only the standard library: lab and benchmark use it, too.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "reliability.json"
MADE = ("docs/reliability.json", "docs/reliability.md")
"""What recording itself changes in the tree."""
RUNS = ("crash-all", "crash-pairs", "fuzz", "model", "mutants", "scale-virtual", "chaos", "bench")
"""Names of entries, in the order of the page."""
FLAG = "--record"


@dataclass(slots=True)
class Entry:
    """What a run tells of itself while it goes on; what it has told when it ends is kept, however it ends."""

    counts: dict[str, Any] = field(default_factory=dict)
    sampled: list[str] = field(default_factory=list)
    """In what it is less than all of it, each in words; empty: it was everything."""
    passed: bool = False
    cut_short: bool = False
    """It ended before it had done what it was told to do."""


@contextmanager
def recording(run: str, command: str, *, wanted: bool, file: Path = FILE) -> Iterator[Entry]:
    """
    Around a whole run. An exception, that of a Ctrl-C too, makes it one that was cut short and did not pass.

    Args:
        command: As `command` makes it.
        wanted: False: nothing is written.
    """
    entry, began_s, process = Entry(), time.monotonic(), os.getpid()
    circumstances = _circumstances(command) if wanted else {}
    try:
        yield entry
    except BaseException:
        entry.passed, entry.cut_short = False, True
        raise
    finally:
        # A process that a run has forked is not the run.
        if wanted and os.getpid() == process:
            seconds = round(time.monotonic() - began_s, 1)
            merge(run, {**circumstances, **_told(entry), "seconds": seconds}, file)
            print(f"recorded in {file.name}; `python -m tests.reference` makes the page anew", flush=True)


def command(module: str, argv: Sequence[str] | None = None, *, without: Sequence[str] = ()) -> str:
    """
    The line that repeats a run of `python -m MODULE`.

    Args:
        argv: Of the run; None: this program's.
        without: Options that say nothing of what was run; each takes one value, as in `--out FILE`.
    """
    words = iter(sys.argv[1:] if argv is None else argv)
    kept = []
    for word in words:
        if word in without:
            next(words, None)
        elif word != FLAG and not word.startswith(tuple(f"{one}=" for one in without)):
            kept.append(word)
    return shlex.join(("python", "-m", module, *kept))


def merge(run: str, entry: dict[str, Any], file: Path = FILE) -> None:
    """Put it in the place of the run's last one. Whoever reads the file meanwhile sees it whole; nobody's is lost."""
    if run not in RUNS:
        raise ValueError(f"{run!r} is none of {', '.join(RUNS)}")
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entries = {**load(file), run: entry}
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}-", delete=False) as new:
            new.write(json.dumps(entries, indent=2, sort_keys=True) + "\n")
        os.chmod(new.name, 0o644)
        os.replace(new.name, file)
    finally:
        os.close(folder)


def load(file: Path = FILE) -> dict[str, dict[str, Any]]:
    """Entries by run."""
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _told(entry: Entry) -> dict[str, Any]:
    return {
        "counts": entry.counts,
        "sampled": entry.sampled,
        "passed": entry.passed,
        "cut_short": entry.cut_short,
    }


def _circumstances(line: str) -> dict[str, Any]:
    """Asked at the beginning: it is that code which is run, whatever becomes of the tree meanwhile."""
    commit, changed = standing()
    date = time.strftime("%Y-%m-%d", time.gmtime())
    return {"command": line, "commit": commit, "changed": changed, "date": date, "cores": os.cpu_count()}


def standing(root: Path = ROOT) -> tuple[str, bool]:
    """The tree's commit, "" if that is not known, and whether there is anything in the tree that is not in it."""
    head = _git(root, "rev-parse", "HEAD")
    others = (f":(exclude){name}" for name in MADE)
    return head, bool(_git(root, "status", "--porcelain", "--", ".", *others)) or not head


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
