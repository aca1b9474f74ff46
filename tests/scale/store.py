"""The fleet on disk: making ten thousand databases takes minutes, and they are the same until the code changes."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import pickle
import tempfile
from collections.abc import Iterable
from pathlib import Path

from controlplane.stores.keyfile import KEY_BYTES, Kek
from controlplane.stores.vault import AesVault
from tests.scale.fleet import Holdings, Maker, Terms

KEK = Kek(bytes(KEY_BYTES))
"""What everybody's secrets are sealed with here."""
FIRST_REVISION = 3
"""Of an etcd into which nothing but the hosts was written, in one transaction."""
PORTION = 100
REPO = Path(__file__).resolve().parent.parent.parent
MAKERS = ("crds/**/*.py", "reconcilers/**/*.py", "tests/scale/fleet.py")
READERS = ("refresh.py", "reconciler.py", "reading.py", "apply.py", "pace.py")
"""They have no say in what is wanted."""


def holdings(count: int) -> list[Holdings]:
    """Of the first `count` databases; from disk, or made by as many processes as there are cores and then kept."""
    path = Path(tempfile.gettempdir()) / f"pgswarm-fleet-{os.getuid()}-{fingerprint()}-{count}"
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_bytes(pickle.dumps(make(count)))
        draft.rename(path)
    found: list[Holdings] = pickle.loads(path.read_bytes())
    return found


def make(count: int) -> list[Holdings]:
    portions = [range(first, min(first + PORTION, count)) for first in range(0, count, PORTION)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        return list(itertools.chain.from_iterable(pool.imap(portion, portions)))


def portion(numbers: Iterable[int]) -> list[Holdings]:
    maker, vault = Maker(Terms()), AesVault([KEK])
    return [maker.settled(number, FIRST_REVISION + number).holdings(vault) for number in numbers]


def fingerprint() -> str:
    """Of everything that has a say in what a settled database is."""
    found = hashlib.sha256()
    for path in sorted(path for pattern in MAKERS for path in REPO.glob(pattern)):
        if path.name not in READERS:
            found.update(path.read_bytes())
    return found.hexdigest()[:12]
