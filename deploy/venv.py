"""The venv: exactly what the lock files say, hashes checked, and this clone installed in it as it stands."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clustertest.lab.errors import LabError
from clustertest.lab.process import attempt, run
from deploy.lock import BUILD, DEV, RUNTIME
from deploy.packages import install
from deploy.site import REPO, site
from deploy.steps import Steps

INSTALL_LIMIT_S = 900.0
# What is installed for whom. `dev` is everything, so it serves `up`, too.
SETS = {"runtime": (RUNTIME, BUILD), "dev": (DEV,)}


def ensure(venv: Path, steps: Steps, *, dev: bool = False) -> str:
    """
    Have the packages in the venv; quick when they are.

    Raises:
        LabError: pip or Debian's packages could not do it.
    """
    python = venv / "bin/python"
    if not (python.exists() and attempt([str(python), "-c", "import pip"])):
        create(venv, steps)
    wanted = "dev" if dev else "runtime"
    if any(
        stamp(venv, name).exists() and stamp(venv, name).read_text() == digest(name)
        for name in {wanted, "dev"}
    ):
        return f"{shown(venv)} is up to date"
    steps.note("installing Python packages, a minute or two")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    locks = [word for name in SETS[wanted] for word in ("-r", str(REPO / name))]
    visibly([*pip, "install", "--require-hashes", *locks])
    visibly([*pip, "install", "--no-deps", "--no-build-isolation", "--editable", str(REPO)])
    stamp(venv, wanted).write_text(digest(wanted))
    return f"{shown(venv)} made from {', '.join(SETS[wanted])}"


def create(venv: Path, steps: Steps) -> None:
    """An empty venv with pip in it. Debian keeps what that needs in a package of its own."""
    if importlib.util.find_spec("ensurepip") is None:
        install(["python3-venv"], steps)
    shutil.rmtree(venv, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(venv)], limit_s=120.0)


def stamp(venv: Path, name: str) -> Path:
    return venv / f".pgswarm-{name}"


def digest(name: str) -> str:
    """Changes when what is to be installed does."""
    texts = [(REPO / file).read_bytes() for file in (*SETS[name], "pyproject.toml")]
    return hashlib.sha256(b"\0".join(texts) + os.fsencode(REPO)).hexdigest()


def visibly(argv: Sequence[str]) -> None:
    """Run pip; its complaints go straight to the terminal."""
    if subprocess.run(argv, timeout=INSTALL_LIMIT_S, check=False).returncode:
        raise LabError("pip failed (above); is a Python package index in reach?")


def shown(venv: Path) -> str:
    return str(venv.relative_to(REPO)) if venv.is_relative_to(REPO) else str(venv)


def main(argv: Sequence[str]) -> int:
    """Exit 0: the venv is as the lock files say."""
    where, dev = site(), "--dev" in argv
    try:
        Steps("venv").run([("Python packages", lambda steps: ensure(where.venv, steps, dev=dev))])
    except LabError as exc:
        print(f"venv: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
