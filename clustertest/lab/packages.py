"""What the lab needs from Debian, installed when it is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from clustertest.lab.errors import LabError
from clustertest.lab.process import attempt, run
from clustertest.lab.progress import Progress

POLICY = Path("/usr/sbin/policy-rc.d")
INSTALL_LIMIT_S = 600.0
NEEDED = {
    "dockerd": "docker.io",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "nft": "nftables",
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
}


def ensure_packages(progress: Progress) -> None:
    """Install what is missing. A Docker engine that comes with it is not started: the lab starts its own."""
    missing = sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})
    if shutil.which("docker") is None:
        # Debian 13 has the client in a package of its own; Debian 12 has it in docker.io.
        missing.append("docker-cli" if attempt(["apt-cache", "show", "docker-cli"]) else "docker.io")
    if not missing:
        return
    if os.geteuid():
        raise LabError(f"missing packages, and only root can install them: {' '.join(missing)}")
    progress.say(f"installing {' '.join(missing)}")
    with_services_denied(sorted(set(missing)))


def with_services_denied(packages: list[str]) -> None:
    """apt-get install, with Debian's own switch against starting services thrown for as long as it runs."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        run(["apt-get", "update", "-qq"], limit_s=INSTALL_LIMIT_S, env=env)
        run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
            limit_s=INSTALL_LIMIT_S,
            env=env,
        )
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
