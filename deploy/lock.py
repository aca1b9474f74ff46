"""
Write the lock files from pyproject.toml: every package of every extra step, pinned, with the hashes of its files.

    python -m deploy.lock            keep the versions that are locked, change what pyproject.toml demands
    python -m deploy.lock --upgrade  take the newest that pyproject.toml allows

Resolved with the Python that runs this, and wanted on 3.11 and on 3.13 alike: `python -m deploy.lock --check`
under each of them says whether the files install there as they are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
RUNTIME, BUILD, DEV = "requirements.lock", "requirements-build.lock", "requirements-dev.lock"
TOOL = "pip-tools>=7.5,<8"
# Hatchling's editable installs need it, and say so only to a resolver that may download at will.
EDITABLE = "editables>=0.5"
HEAD = """# Every package pinned, with the hashes of its files. Made by `make lock` from pyproject.toml; do not edit.
# Installs with `pip install --require-hashes -r {name}` on Python 3.11 to 3.13.
"""


def wanted() -> dict[str, list[str]]:
    """Lock file to requirements, as pyproject.toml states them. The runtime comes first: the others follow it."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    runtime = list(project["project"]["dependencies"])
    build = [*project["build-system"]["requires"], EDITABLE]
    groups = project["dependency-groups"]
    return {RUNTIME: runtime, BUILD: build, DEV: [*runtime, *build, *groups["test"], *groups["lint"]]}


def resolve(python: Path, name: str, requirements: Sequence[str], folder: Path, *, upgrade: bool) -> None:
    """Lock one file. Versions that an earlier file settled are kept, so that no two files disagree."""
    source, target = folder / "wanted.in", folder / name
    source.write_text("\n".join(requirements) + "\n")
    if (REPO / name).exists() and not upgrade:
        target.write_text((REPO / name).read_text())
    argv = [str(python), "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--allow-unsafe"]
    argv += ["--strip-extras", "--no-header", "--no-annotate", "--no-emit-options"]
    argv += ["--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links"]
    argv += [word for earlier in (RUNTIME, BUILD) if earlier != name and (folder / earlier).exists()
             for word in ("--constraint", earlier)]  # fmt: skip
    subprocess.run([*argv, "--output-file", name, source.name], cwd=folder, check=True)
    target.write_text(HEAD.format(name=name) + target.read_text())


def lock(*, upgrade: bool) -> None:
    """Write all lock files, with pip-tools in a venv that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pgswarm-lock-") as scratch:
        folder = Path(scratch)
        python = folder / "venv/bin/python"
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", TOOL], check=True)
        for name, requirements in wanted().items():
            print(f"locking {name}", flush=True)
            resolve(python, name, requirements, folder, upgrade=upgrade)
        for name in wanted():
            (REPO / name).write_text((folder / name).read_text())


def check() -> int:
    """Exit code 0 if this Python would install every lock file exactly as it stands."""
    with tempfile.TemporaryDirectory(prefix="pgswarm-lock-") as scratch:
        subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
        argv = [f"{scratch}/bin/pip", "install", "--quiet", "--dry-run", "--require-hashes", "-r"]
        failed = [
            name for name in wanted() if subprocess.run([*argv, str(REPO / name)], check=False).returncode
        ]
    release = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    print(
        f"{release}: {', '.join(failed)} cannot be installed" if failed else f"{release}: every lock installs"
    )
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0: written, or with --check: installable."""
    parser = argparse.ArgumentParser(prog="python -m deploy.lock", description="Write the lock files.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions allowed")
    parser.add_argument("--check", action="store_true", help="only see whether this Python can install them")
    args = parser.parse_args(argv)
    if args.check:
        return check()
    lock(upgrade=args.upgrade)
    return 0


if __name__ == "__main__":
    sys.exit(main())
