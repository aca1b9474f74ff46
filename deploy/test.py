"""
`make test`: every test there is, the quick ones first; `make check` (--quick) is that first part.

Installs what the tests need. Nothing is skipped: a test that cannot run here fails. The last line counts them all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from clustertest.lab.errors import LabError
from clustertest.lab.etcd import fetch
from deploy import venv
from deploy.packages import docker_programs, install, missing
from deploy.site import REPO, Site, site
from deploy.steps import Step, Steps
from deploy.verdict import Counts, read, total

GATE_LIMIT_S = 600.0
QUICK_LIMIT_S = 1200.0
CLUSTER_LIMIT_S = 3600.0
IMAGES_LIMIT_S = 2400.0
POSTGRES = Path("/usr/lib/postgresql")
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")
# What the contract suites and the lab call, and minimal machines lack.
PROGRAMS = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "openssl": "openssl",
    "debootstrap": "debootstrap",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "pgrep": "procps",
    "ldd": "libc-bin",
    "psql": "postgresql-client",
}
GATES = (
    ("format", ("ruff", "format", "--check", ".")),
    ("lint", ("ruff", "check", ".")),
    ("types", ("mypy",)),
    ("types of deploy", ("mypy", "-p", "deploy")),
    ("imports", ("lint-imports",)),
)


class Tests:
    """The steps, and what came out of them."""

    def __init__(self, where: Site, reports: Path) -> None:
        self.site, self._reports = where, reports
        self.counts: list[Counts] = []

    def quick(self) -> list[Step]:
        return [
            ("programs", self._programs),
            ("Python packages", lambda steps: venv.ensure(self.site.venv, steps, dev=True)),
            ("etcd program", self._etcd),
            ("gates", self._gates),
            ("unit and contract tests", lambda _: self._pytest("tests", QUICK_LIMIT_S, "--ignore=tests/sim")),
            # In a process of its own: it forks thousands of times, and a small one forks cheaply.
            ("simulations", lambda _: self._pytest("tests/sim", QUICK_LIMIT_S)),
        ]

    def cluster(self) -> list[Step]:
        return [
            ("images", self._images),
            ("tests on a real Swarm", lambda _: self._pytest("clustertest", CLUSTER_LIMIT_S)),
        ]

    # --- what they need ---

    def _programs(self, steps: Steps) -> str:
        packages = missing({**docker_programs(), **PROGRAMS})
        if not list(POSTGRES.glob("*/bin/initdb")):
            packages.append("postgresql")
            # Else Debian makes a cluster of its own on port 5432.
            if not NO_CLUSTER.exists():
                NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
                NO_CLUSTER.write_text("create_main_cluster = false\n")
        install(packages, steps)
        return f"installed {' '.join(packages)}" if packages else "are there"

    def _etcd(self, _: Steps) -> str:
        return str(fetch(self.site.cache, "3.5"))

    def _images(self, _: Steps) -> str:
        if not total(self.counts).good():
            raise LabError("the quick part failed, so the rest was not run")
        argv = [sys.executable, "-m", "clustertest.lab", "images", "--controlplane"]
        if subprocess.run(argv, cwd=REPO, timeout=IMAGES_LIMIT_S, check=False).returncode:
            raise LabError("the images could not be built (above)")
        return "are there"

    def _environment(self) -> dict[str, str]:
        programs = fetch(self.site.cache, "3.5")
        path = f"{self.site.venv / 'bin'}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        return {
            **os.environ,
            "PATH": path,
            "PGSWARM_ETCD_BIN": str(programs),
            "PGSWARM_BIN": str(self.site.pgswarm),
            "PGSWARM_CACHE": str(self.site.cache),
        }

    # --- what they say ---

    def _gates(self, steps: Steps) -> str:
        failed = []
        for title, (program, *words) in GATES:
            steps.note(f"{title}: {program} {' '.join(words)}")
            argv = [str(self.site.venv / "bin" / program), *words]
            done = subprocess.run(
                argv, cwd=REPO, env=self._environment(), timeout=GATE_LIMIT_S, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            if done.returncode:
                print(done.stdout, flush=True)
                failed.append(title)
        self.counts.append(Counts(errors=len(failed)))
        return f"NOT in order: {', '.join(failed)} (above)" if failed else "all in order"

    def _pytest(self, folder: str, limit_s: float, *words: str) -> str:
        report = self._reports / f"{folder.replace('/', '-')}.xml"
        argv = [str(self.site.venv / "bin/python"), "-m", "pytest", folder, *words, f"--junitxml={report}"]
        code: int | None = None
        try:
            code = subprocess.run(
                argv, cwd=REPO, env=self._environment(), timeout=limit_s, check=False
            ).returncode
        finally:
            found = read(report)
            if code != 0 and found.good():
                found += Counts(errors=1)
            self.counts.append(found)
        return f"{found.passed} passed" if found.good() else "NOT every test passed (above)"


def main(argv: Sequence[str]) -> int:
    """Exit 0: every test ran and passed."""
    quick = "--quick" in argv
    began_s, steps = time.monotonic(), Steps("make check" if quick else "make test")
    problem = ""
    with tempfile.TemporaryDirectory(prefix="pgswarm-reports-") as folder:
        tests: Tests | None = None
        try:
            tests = Tests(site(), Path(folder))
            steps.run([*tests.quick(), *([] if quick else tests.cluster())])
        except (LabError, OSError, subprocess.SubprocessError) as exc:
            problem = str(exc)
    found = total(tests.counts if tests else ())
    if problem:
        print(f"{'make check' if quick else 'make test'}: {problem}", flush=True)
        found += Counts() if found.bad() else Counts(errors=1)
    print(found.line(time.monotonic() - began_s), flush=True)
    return 0 if found.good() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
