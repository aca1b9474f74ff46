"""
The engine that builds images for a lab, and the store that every host starts from.

The builder runs only while something is built: in the root network namespace (so that package mirrors are in
reach without touching any firewall), with no bridge, no iptables, and every path its own. Its image store is
the seed: a host gets it by hard links, in a second and without using the disk twice. That is safe because an
engine never writes to a finished layer.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from clustertest.lab.engine import Engine
from clustertest.lab.errors import LabError
from clustertest.lab.etcd import images_build
from clustertest.lab.host import PATH, remove_cgroups
from clustertest.lab.process import Identity, attempt, run, wait_until
from clustertest.lab.progress import Progress
from clustertest.lab.settings import REPO, Settings

START_LIMIT_S = 30.0
STOP_LIMIT_S = 30.0
BUILD_LIMIT_S = 2400.0
LOAD_LIMIT_S = 300.0
CGROUP = "pgswarm-builder"
# What of a data root is images. The rest is one engine's own.
IMAGE_PARTS = ("image", "overlay2")


class Seed:
    """The image store under the cache folder, and the list of what is in it."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._cache = settings.cache
        self._progress = progress
        # Two stores: the workshop keeps every layer of every build, and hosts should not carry those.
        self._workshop = settings.cache / "docker"
        self._store = settings.cache / "seed"
        self._stamps = settings.cache / "seed.json"

    def ensure(self, wanted: Sequence[tuple[str, int]] = (("postgres", 17),)) -> None:
        """Have these images (target, major) in the seed, as the repository says they should be."""
        build = images_build()
        ca_dir = build.default_ca_dir()
        stamps = self._load()
        images = [(build.image(target, major), target, major) for target, major in wanted]
        missing = [each for each in images if stamps.get(each[0].tag) != each[0].wanted(ca_dir)]
        if not missing:
            return
        self._progress.say(f"building {', '.join(image.tag for image, _, _ in missing)}")
        with self._alone():
            self._fill(missing)

    def _fill(self, missing: Sequence[tuple[Any, str, int]]) -> None:
        build, stamps = images_build(), self._load()
        made: dict[str, str] = {}
        with self.engine(self._workshop) as engine:
            for image, target, major in missing:
                self._build(engine, target, major)
                # As built: the sources may have changed since.
                made[image.tag] = content_of(engine, image.tag)
        with self.engine(self._store) as engine:
            for tag, content in made.items():
                load(engine, build.tarball(self._cache, tag, content))
                stamps[tag] = content
            engine.call("POST", "/images/prune")
        self._stamps.write_text(json.dumps(stamps, indent=2) + "\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One builder at a time, whoever started it; the kernel frees the lock with its holder."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / "builder.lock").open("w") as lock:
            wait_until(lambda: taken(lock), BUILD_LIMIT_S, "another builder to finish", every_s=0.5)
            yield

    def _load(self) -> dict[str, str]:
        if not (self._stamps.exists() and self._store.is_dir()):
            return {}
        return dict(json.loads(self._stamps.read_text()))

    def _build(self, engine: Engine, target: str, major: int) -> None:
        argv = [sys.executable, str(REPO / "images/build.py"), target]
        argv += ["--major", str(major)] if major else []
        env = {**os.environ, "DOCKER_HOST": engine.url, "PGSWARM_CACHE": str(self._cache)}
        if subprocess.run(argv, env=env, timeout=BUILD_LIMIT_S, stdout=sys.stderr, check=False).returncode:
            raise LabError(f"the image {target} could not be built (above)")

    @contextmanager
    def engine(self, data_root: Path) -> Iterator[Engine]:
        """The builder on one of the stores, for as long as the block runs."""
        pid_file, log = self._cache / "builder.pid", self._cache / "builder.log"
        leftover = Identity.load(pid_file)
        if leftover:
            leftover.end()
        engine = Engine(self._cache / "builder.sock")
        engine.socket.unlink(missing_ok=True)
        script = f"""mount -t tmpfs tmpfs /run && echo '{{}}' >/run/daemon.json && exec dockerd \
            --config-file=/run/daemon.json --data-root={data_root} --host={engine.url} \
            --bridge=none --iptables=false --ip-forward=false --storage-driver=overlay2 \
            --exec-opt=native.cgroupdriver=cgroupfs --cgroup-parent=/{CGROUP}"""
        # When unshare ends, by whatever hand, it takes engine and containers with it.
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        with log.open("w") as out:
            process = subprocess.Popen(
                [*unshare, "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={"PATH": PATH, "HOME": "/root"},
            )
        identity = Identity.of(process.pid)
        if identity:
            identity.save(pid_file)
        try:
            wait_until(engine.answers, START_LIMIT_S, "the builder to answer", log=log)
            yield engine
        finally:
            self._stop(process)
            remove_cgroups(CGROUP)
            pid_file.unlink(missing_ok=True)
            engine.socket.unlink(missing_ok=True)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Let the engine close its store; it is written to disk before hosts copy it."""
        for pid in run(["pgrep", "-P", str(process.pid)], check=False).split():
            attempt(["kill", "-TERM", pid])
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_LIMIT_S)

    def plant(self, data_root: Path) -> None:
        """Give a new host every image of the seed. Copies instead of linking across file systems and mounts."""
        data_root.mkdir(parents=True, mode=0o711)
        linked = linkable(self._cache, data_root)
        for part in IMAGE_PARTS:
            links = ["-l"] if linked and part == "overlay2" else []
            run(["cp", "-a", *links, str(self._store / part), str(data_root / part)], limit_s=LOAD_LIMIT_S)
        shutil.rmtree(data_root / "image/overlay2/layerdb/mounts", ignore_errors=True)

    def load(self, target: Engine) -> None:
        """Bring a running host up to the seed: only images it lacks travel."""
        build = images_build()
        for tag, content in sorted(self._load().items()):
            if content_of(target, tag) != content:
                self._progress.say(f"loading {tag} into {target.socket.parent.name}")
                load(target, build.tarball(self._cache, tag, content))


def linkable(source: Path, target: Path) -> bool:
    """Whether a file may have a name in both folders; two mounts of one file system may not share one."""
    with tempfile.NamedTemporaryFile(dir=source) as probe:
        name = target / Path(probe.name).name
        try:
            os.link(probe.name, name)
        except OSError:
            return False
        name.unlink()
    return True


def taken(lock: TextIO) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def load(engine: Engine, tarball: Path) -> None:
    """docker load."""
    run(["docker", "-H", engine.url, "load", "-q", "-i", str(tarball)], limit_s=LOAD_LIMIT_S)


def content_of(engine: Engine, tag: str) -> str:
    """The content hash on an engine's image, or an empty string."""
    try:
        found = engine.call("GET", f"/images/{tag}/json")
    except LabError:
        return ""
    return str((found["Config"].get("Labels") or {}).get("dev.pgswarm.content", ""))
