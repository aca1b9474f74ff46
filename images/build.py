#!/usr/bin/env python3
"""
Build pgswarm's images on any Docker engine, with or without a registry in reach.

What lives here: which images there are, how each is made, and when making it again can be skipped.
What must not: anything that starts or stops an engine (clustertest/lab/builder.py does that for the lab).
Only the standard library, so that a machine without a venv can run it.

    images/build.py                       the Postgres 17 image
    images/build.py postgres --major 15   Postgres 15 on the Debian release that carries it
    images/build.py controlplane          pgswarm itself

PGSWARM_APT_CONF holds more lines for apt.conf inside a build. Without it a build checks the age of the archive's
lists if this machine itself does.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
LABEL = "dev.pgswarm.content"
SUITES = {15: "bookworm", 17: "trixie", 18: "sid"}
DEFAULT_MAJOR = 17
PULL_LIMIT_S = 8.0
BUILD_LIMIT_S = 1800.0
SOURCES = (
    *("pyproject.toml", "requirements.lock", "requirements-build.lock", "README.md", "LICENSE"),
    *("crds", "reconcilers", "controlplane"),
)


class BuildFailed(Exception):
    """A step ended badly; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image to make: its tag, and the content that decides whether it is already there."""

    target: str
    tag: str
    suite: str
    major: int

    def wanted(self, ca_dir: Path | None) -> str:
        """Hash of everything that goes into the image except what the Debian archive adds."""
        digest = hashlib.sha256(f"{self.tag} {base_hash(self.suite)}".encode())
        digest.update(dockerfile(self.target).encode())
        for name, data, mode in context_files(self.target, ca_dir):
            digest.update(f"{name} {mode:o} {len(data)}\n".encode() + data)
        return digest.hexdigest()[:16]


def image(target: str, major: int) -> Image:
    """The image that `target` and `major` name."""
    if target == "controlplane":
        return Image(target, "pgswarm/controlplane:latest", SUITES[DEFAULT_MAJOR], 0)
    if target != "postgres":
        raise BuildFailed(f"no such image: {target}; there are postgres and controlplane")
    if major not in SUITES:
        raise BuildFailed(f"no Debian release here carries Postgres {major}; known: {sorted(SUITES)}")
    return Image(target, f"pgswarm/postgres:{major}", SUITES[major], major)


def tarball(cache: Path, tag: str, content: str) -> Path:
    """Where the image with this content is kept for engines that do not have it."""
    return cache / f"{tag.replace('/', '-').replace(':', '-')}-{content}.tar"


# --- progress ---------------------------------------------------------------------------------------


class Steps:
    """Says what is done, how far it is and what it took, one line a step."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._start_s = time.monotonic()

    def say(self, text: str) -> None:
        """Announce the next step."""
        self._done += 1
        print(f"[{self._done}/{self._total}] {time.monotonic() - self._start_s:6.1f}s  {text}", flush=True)

    def note(self, text: str) -> None:
        """Add a line to the step that runs."""
        print(f"      {time.monotonic() - self._start_s:6.1f}s    {text}", flush=True)


# --- docker -----------------------------------------------------------------------------------------


def docker(*args: str, limit_s: float = 120.0, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the docker CLI against whatever DOCKER_HOST names."""
    done = subprocess.run(
        ["docker", *args],
        text=True,
        capture_output=True,
        timeout=limit_s,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if check and done.returncode:
        raise BuildFailed(f"docker {' '.join(args[:2])}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def present(tag: str) -> str:
    """The content hash of the image with this tag, or an empty string."""
    done = docker("image", "inspect", "-f", f'{{{{index .Config.Labels "{LABEL}"}}}}', tag, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def builder_environment() -> dict[str, str]:
    """BuildKit only where its client is installed; the classic builder is everywhere."""
    absent = run_quiet(["docker", "buildx", "version"])
    return {**os.environ, "DOCKER_BUILDKIT": "0" if absent else "1"}


# --- the base image ---------------------------------------------------------------------------------


def apt_entries() -> list[tuple[str, str]]:
    """(URI, suite) of every package source this machine uses, in the order it states them."""
    root = Path("/etc/apt")
    found: list[tuple[str, str]] = []
    for path in [root / "sources.list", *sorted((root / "sources.list.d").glob("*"))]:
        text = path.read_text(errors="replace") if path.is_file() else ""
        if path.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", text):
                fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.M))
                if "deb" in fields.get("Types", "").split():
                    uris, suites = fields.get("URIs", "").split(), fields.get("Suites", "").split()
                    found += [(uri, suite) for uri in uris for suite in suites]
        elif path.suffix == ".list":
            found += re.findall(r"^deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)", text, re.M)
    return found


def mirrors() -> tuple[str, str]:
    """The archive and the security archive this machine itself installs from; empty when unknown."""
    codename = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.M)).get(
        "VERSION_CODENAME", ""
    )
    entries = [(uri, suite) for uri, suite in apt_entries() if uri.startswith(("http://", "https://"))]
    main = [uri for uri, suite in entries if codename and suite == codename]
    security = [uri for uri, suite in entries if suite.endswith("-security")]
    return (main or [""])[0], (security or [""])[0]


def apt_conf() -> str:
    """Lines for apt.conf in a build: its archive is this machine's, and where that stands still apt has been told."""
    given = os.environ.get("PGSWARM_APT_CONF")
    if given is not None:
        return given
    argv = ["apt-config", "dump", "Acquire::Check-Valid-Until"]
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def base_hash(suite: str) -> str:
    """Changes when the recipe of the base image does."""
    return hashlib.sha256(f"2 {suite} minbase ca-certificates".encode()).hexdigest()[:16]


def build_base(suite: str, cache: Path, steps: Steps, *, pull: bool) -> str:
    """
    Make sure `pgswarm/base:<suite>` exists on the engine.

    A pull is tried first and given up after a few seconds: without a registry in reach the
    release is bootstrapped from the archive this machine installs from.
    """
    tag, want = f"pgswarm/base:{suite}", base_hash(suite)
    if present(tag) == want:
        steps.note(f"{tag} is there")
        return tag
    tarball = cache / f"base-{suite}-{want}.tar"
    if not tarball.exists():
        if pull and pulled_base(suite, tag, want, steps):
            return tag
        bootstrap(suite, tarball, steps)
    steps.note(f"importing {tarball.name}, {tarball.stat().st_size >> 20} MiB")
    docker("import", "-c", f"LABEL {LABEL}={want}", "-c", 'CMD ["/bin/sh"]', str(tarball), tag)
    return tag


def pulled_base(suite: str, tag: str, want: str, steps: Steps) -> bool:
    """Take the base from a registry if one answers quickly."""
    upstream = f"debian:{suite}-slim"
    steps.note(f"pulling {upstream}, giving up after {PULL_LIMIT_S:.0f} s")
    try:
        docker("pull", "-q", upstream, limit_s=PULL_LIMIT_S)
    except (BuildFailed, subprocess.TimeoutExpired):
        steps.note("no registry in reach; bootstrapping instead")
        return False
    subprocess.run(
        ["docker", "build", "-q", "-t", tag, "-"],
        input=f"FROM {upstream}\nLABEL {LABEL}={want}\n",
        text=True,
        check=True,
        timeout=BUILD_LIMIT_S,
        stdout=subprocess.DEVNULL,
        env=builder_environment(),
    )
    return True


def bootstrap(suite: str, tarball: Path, steps: Steps) -> None:
    """Write a minimal Debian root file system to `tarball`, from the archive."""
    if shutil.which("debootstrap") is None:
        steps.note("installing debootstrap")
        apt = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "debootstrap"]
        if run_quiet(apt) and (run_quiet(["apt-get", "update", "-qq"]) or run_quiet(apt)):
            raise BuildFailed("debootstrap is needed and cannot be installed: are you root, is apt in reach?")
    main, security = mirrors()
    tarball.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rootfs-", dir=tarball.parent) as scratch:
        root = Path(scratch, "root")
        steps.note(f"debootstrap {suite} (about a minute, 100 MiB from the package archive)")
        log = Path(scratch, "log")
        # A mount namespace of its own: interrupted, it leaves no /proc behind to be deleted with the rest.
        argv = ["unshare", "-m", "debootstrap", "--variant=minbase", "--include=ca-certificates"]
        argv += [suite, str(root)]
        with log.open("w") as out:
            code = subprocess.run(
                argv + ([main] if main else []), stdout=out, stderr=out, timeout=BUILD_LIMIT_S, check=False
            ).returncode
        if code:
            raise BuildFailed(f"debootstrap {suite} failed:\n" + "\n".join(log.read_text().splitlines()[-8:]))
        tidy(root, suite, security)
        partial = tarball.with_suffix(".partial")
        subprocess.run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(partial), "."], check=True)
        partial.rename(tarball)


def tidy(root: Path, suite: str, security: str) -> None:
    """Take out what belongs to the building machine, put in what every Debian image has."""
    for name in ("etc/hostname", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
    for folder in ("var/cache/apt", "var/lib/apt/lists", "var/log", "dev", "proc", "sys", "tmp"):
        for entry in (root / folder).iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    if suite != "sid" and security:
        extra = root / "etc/apt/sources.list.d/security.list"
        extra.write_text(f"deb {security} {suite}-security main\n")


def run_quiet(argv: Sequence[str]) -> int:
    """Exit code of a command whose output nobody needs."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(argv, capture_output=True, env=environment, timeout=600, check=False).returncode


# --- the build context ------------------------------------------------------------------------------


def dockerfile(target: str) -> str:
    """
    The Dockerfile cut down to the stages of one target.

    The classic builder runs every stage that stands above the target, wanted or not.
    """
    blocks = re.split(r"(?m)^(?=FROM )", (REPO / "Dockerfile").read_text())
    kept = [b for b in blocks[1:] if re.match(rf"FROM \S+ AS {target}\b", b)]
    return blocks[0] + "".join(kept)


def context_files(target: str, ca_dir: Path | None) -> list[tuple[str, bytes, int]]:
    """(name, content, mode) of every file the target's stages may copy, in a fixed order."""
    roots = [REPO / "images" / target] if target == "postgres" else [REPO / name for name in SOURCES]
    files = [
        (str(path.relative_to(REPO)), path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)
        for root in roots
        for path in [root, *sorted(root.rglob("*"))]
        if path.is_file() and "__pycache__" not in path.parts
    ]
    authorities = {path.name: path for path in sorted((REPO / "images/ca").glob("*.crt"))}
    if ca_dir is not None:
        authorities |= {path.name: path for path in sorted(ca_dir.glob("*.crt"))}
    files += [(f"images/ca/{name}", path.read_bytes(), 0o644) for name, path in sorted(authorities.items())]
    return [*files, ("images/ca/.gitkeep", b"", 0o644)]


def context(target: str, ca_dir: Path | None) -> bytes:
    """The build context as a tar archive: exactly the files that count, nothing else of the folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        recipe = ("Dockerfile", dockerfile(target).encode(), 0o644)
        for name, data, mode in [recipe, *context_files(target, ca_dir)]:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def default_ca_dir() -> Path | None:
    """Where this site keeps its own certificate authorities, if it has any."""
    given = os.environ.get("PGSWARM_BUILD_CA_DIR")
    folder = Path(given) if given else Path("/usr/local/share/ca-certificates")
    return folder if folder.is_dir() and any(folder.glob("*.crt")) else None


# --- building ---------------------------------------------------------------------------------------


def build(what: Image, ca_dir: Path | None, cache: Path, steps: Steps, *, pull: bool, force: bool) -> None:
    """Make sure `what` exists on the engine: as it is, from the cache, or built."""
    want = what.wanted(ca_dir)
    kept = tarball(cache, what.tag, want)
    steps.say(f"{what.tag} ({want})")
    if not force and present(what.tag) == want:
        steps.note("is there")
        if not kept.exists():
            save(what.tag, kept)
        return
    if not force and kept.exists():
        steps.note(f"loading it from the cache, {kept.stat().st_size >> 20} MiB")
        docker("load", "-q", "-i", str(kept), limit_s=BUILD_LIMIT_S)
        return
    tar = context(
        what.target, ca_dir
    )  # now, and not after a base that takes a minute: it is what `want` names
    base = build_base(what.suite, cache, steps, pull=pull)
    steps.note(f"building on {base}")
    docker_build(what, base, want, tar, steps)
    size = int(docker("image", "inspect", "-f", "{{.Size}}", what.tag).stdout)
    steps.note(f"built, {size / 1e6:.0f} MB; saving it to {kept.parent}")
    save(what.tag, kept)


def docker_build(what: Image, base: str, want: str, tar: bytes, steps: Steps) -> None:
    """Run the build and show which step it is at; on failure the last lines of its output."""
    argv = ["docker", "build", "--network", "host", "--force-rm", "--target", what.target, "-t", what.tag]
    argv += ["--build-arg", f"BASE={base}", "--build-arg", f"PG_MAJOR={what.major}"]
    argv += ["--build-arg", f"APT_CONF={apt_conf()}"]
    argv += ["--build-arg", f"VERSION={version()}", "--label", f"{LABEL}={want}", "-"]
    lines: list[str] = []
    with tempfile.TemporaryFile() as stdin:
        stdin.write(tar)
        stdin.seek(0)
        process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=builder_environment(),
        )
    # A timer, not a look at the clock between lines: a build that hangs prints none.
    alarm = threading.Timer(BUILD_LIMIT_S, process.kill)
    alarm.start()
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if re.match(r"Step \d+/\d+|#\d+ \[", line):
                steps.note(line.strip()[:100])
    alarm.cancel()
    if process.returncode:
        raise BuildFailed(f"{what.tag}: the build failed\n" + "\n".join(lines[-25:]))


def save(tag: str, tarball: Path) -> None:
    """Keep the image for other engines; older ones of the same tag go."""
    tarball.parent.mkdir(parents=True, exist_ok=True)
    partial = tarball.with_suffix(".partial")
    docker("save", "-o", str(partial), tag, limit_s=BUILD_LIMIT_S)
    for old in tarball.parent.glob(tarball.name.rsplit("-", 1)[0] + "-????????????????.tar"):
        old.unlink()
    partial.rename(tarball)


def version() -> str:
    """The version that pyproject.toml states."""
    found = re.search(r'^version\s*=\s*"([^"]+)"', (REPO / "pyproject.toml").read_text(), re.M)
    return found.group(1) if found else "0"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="images/build.py", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("targets", nargs="*", metavar="postgres|controlplane", help="default: postgres")
    parser.add_argument("--major", type=int, default=DEFAULT_MAJOR, help="Postgres major: 15, 17, 18")
    parser.add_argument("--ca-dir", type=Path, default=None, help="folder of *.crt that builds must trust")
    parser.add_argument("--no-pull", action="store_true", help="do not try a registry for the base image")
    parser.add_argument("--force", action="store_true", help="build even if the image is there")
    parser.add_argument("--print-hash", action="store_true", help="print tag and content hash, build nothing")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0: every image is there, 1: one is not."""
    args = arguments(argv)
    ca_dir = args.ca_dir or default_ca_dir()
    cache = Path(os.environ.get("PGSWARM_CACHE", "/var/cache/pgswarm"))
    try:
        images = [image(target, args.major) for target in args.targets or ["postgres"]]
        if args.print_hash:
            print("\n".join(f"{what.tag} {what.wanted(ca_dir)}" for what in images))
            return 0
        steps = Steps(len(images))
        for what in images:
            build(what, ca_dir, cache, steps, pull=not args.no_pull, force=args.force)
    except (BuildFailed, subprocess.SubprocessError, OSError) as exc:
        print(f"images/build.py: {exc}", file=sys.stderr)
        return 1
    steps.note("all images are there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
