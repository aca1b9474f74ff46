"""Debian packages: installed when a program is missing, and never started by being installed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from clustertest.lab.errors import LabError
from clustertest.lab.packages import with_services_denied
from deploy.steps import Steps

OS_RELEASE = Path("/etc/os-release")


def missing(wanted: Mapping[str, str]) -> list[str]:
    """Packages of the programs that are not on this machine."""
    return sorted({package for program, package in wanted.items() if shutil.which(program) is None})


def install(packages: Sequence[str], steps: Steps) -> None:
    """
    apt-get install. A service that comes with a package stays off: who needs it starts it.

    Raises:
        LabError: apt refused, or we are not root.
    """
    if not packages:
        return
    if os.geteuid():
        raise LabError(f"missing packages, and only root can install them: {' '.join(packages)}")
    steps.note(f"apt-get install {' '.join(packages)}")
    with_services_denied(list(packages))


def docker_programs(os_release: Path = OS_RELEASE) -> dict[str, str]:
    """Program to package. Debian 12 has Docker's client inside docker.io, later ones in a package of its own."""
    release = re.search(r'^VERSION_ID="?(\d+)', os_release.read_text(), re.M)
    apart = release is None or int(release[1]) > 12
    return {"dockerd": "docker.io", "docker": "docker-cli" if apart else "docker.io"}
