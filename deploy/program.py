"""`pgswarm run` in the background: its settings file, its process, its launcher on the path."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from clustertest.lab.errors import LabError
from clustertest.lab.etcd import fetch
from clustertest.lab.process import Identity, run, wait_until
from deploy.site import HOST, REPO, Made, Site

API = ("127.0.0.1", 7432)
ETCD_PORTS = (2379, 12379, 22379)
READY_LIMIT_S = 90.0
# Longer than all of its drain phases and its etcd's end together.
STOP_LIMIT_S = 30.0
LOG_BYTES_MAX = 10 * 1024**2
MARK = "# Written by `make up` of pgswarm."
CODE = ("crds", "reconcilers", "controlplane")


def ensure_etcd(site: Site) -> str:
    """The program that pgswarm runs as its child, in the state directory: nothing is installed on the machine."""
    target = site.state / "bin"
    if not all((target / name).exists() for name in ("etcd", "etcdctl")):
        source = fetch(site.cache, "3.5")
        target.mkdir(exist_ok=True)
        for name in ("etcdctl", "etcd"):
            run(["cp", str(source / name), str(target / f".{name}.new")])
            (target / f".{name}.new").replace(target / name)
    return run([str(target / "etcd"), "--version"]).splitlines()[0].replace(" Version:", "")


def write_config(site: Site, made: Made) -> None:
    """The settings, once; a person may change them, and a later `make up` leaves them as they are."""
    if site.config.exists():
        return
    site.config.write_text(
        f"""{MARK} `pgswarm` on the path reads it; docs/configuration.md says what else there is.
host: {HOST}
cluster: {made.cluster}
stateDir: {site.state}
docker: unix://{site.socket}
embeddedEtcd: true
etcdEndpoints: http://127.0.0.1:{free_port()}
etcdUser: pgswarm
etcdPasswordFile: {site.state / "etcd-pgswarm"}
"""
    )


def free_port() -> int:
    """etcd's own port, unless another etcd of this machine has it or the one after it."""
    for port in ETCD_PORTS:
        try:
            for each in (port, port + 1):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("0.0.0.0", each))
        except OSError:
            continue
        return port
    raise LabError(f"no port for etcd is free, of {', '.join(map(str, ETCD_PORTS))}")


def write_launcher(site: Site, path: str | None = None) -> str:
    """`pgswarm` on the path (default: this process's), with these settings. Returns how to call it."""
    if site.launcher.exists() and not is_ours(site.launcher):
        return f"PGSWARM_CONFIG={site.config} {site.pgswarm}"
    site.launcher.write_text(
        f'#!/bin/sh\n{MARK}\nexport PGSWARM_CONFIG="${{PGSWARM_CONFIG:-{site.config}}}"\nexec {site.pgswarm} "$@"\n'
    )
    site.launcher.chmod(0o755)
    # An activated venv, or another pgswarm, may come first on the path: that one has other settings.
    found = shutil.which(site.launcher.name, path=path)
    return site.launcher.name if found == str(site.launcher) else str(site.launcher)


def remove_launcher(site: Site) -> None:
    if site.launcher.exists() and is_ours(site.launcher):
        site.launcher.unlink()


def is_ours(launcher: Path) -> bool:
    return MARK in launcher.read_text(errors="replace")


def ensure_running(site: Site) -> str:
    """
    Have the process run with the code and the settings as they are now.

    Raises:
        LabError: it did not get ready; with the end of its log.
    """
    running, wanted = Identity.load(site.pid_file), fingerprint(site)
    stamp = site.state / "pgswarm.code"
    if running is not None and stamp.exists() and stamp.read_text() == wanted and ready():
        return f"runs, process {running.pid}"
    how = "started"
    if running is not None:
        stop(site)
        how = "started again, because its code or its settings have changed"
    if ready():
        raise LabError(f"another pgswarm answers on {':'.join(map(str, API))}: end it first")
    start(site)
    stamp.write_text(wanted)
    return how


def fingerprint(site: Site) -> str:
    """Changes with the code that the process runs and with its settings."""
    digest = hashlib.sha256(site.config.read_bytes())
    for path in sorted(path for folder in CODE for path in (REPO / folder).rglob("*")):
        if path.suffix in (".py", ".yaml", ".json"):
            digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def start(site: Site) -> None:
    if site.log.exists() and site.log.stat().st_size > LOG_BYTES_MAX:
        site.log.replace(site.log.with_suffix(".log.1"))
    environment = {name: value for name, value in site.environment().items() if name != "DOCKER_HOST"}
    with site.log.open("a") as out:
        process = subprocess.Popen(
            [str(site.pgswarm), "run"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
            env=environment,
        )
    identity = Identity.of(process.pid)
    if identity is not None:
        identity.save(site.pid_file)
    wait_until(
        lambda: process.poll() is not None or ready(), READY_LIMIT_S, "pgswarm to be ready", log=site.log
    )
    if process.poll() is not None:
        raise LabError(f"pgswarm run ended at once; the end of {site.log}:\n{tail(site.log)}")


def ready() -> bool:
    """It answers, and says that it can do its work."""
    connection = http.client.HTTPConnection(*API, timeout=3.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(site: Site) -> str:
    """SIGTERM, so that it hands over what it owns; its etcd ends with it, and one that a crash left here, too."""
    how = "did not run"
    for file, limit_s in ((site.pid_file, STOP_LIMIT_S), (site.state / "etcd.pid", 10.0)):
        found = Identity.load(file)
        if found is not None:
            found.send(signal.SIGTERM)
            try:
                wait_until(lambda found=found: not found.alive(), limit_s, file.stem)  # type: ignore[misc]
                how = "stopped"
            except LabError:
                found.end()
                how = f"killed, for it did not end within {limit_s:.0f} s"
        file.unlink(missing_ok=True)
    return how


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])
