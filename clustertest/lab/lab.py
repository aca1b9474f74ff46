"""The lab: hosts wired together, one Swarm, one etcd cluster, and the faults that tests ask for."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from clustertest.lab import tls as certificates
from clustertest.lab.builder import Seed
from clustertest.lab.engine import dockerd
from clustertest.lab.errors import LabError
from clustertest.lab.etcd import Gateway, Tls, fetch, member
from clustertest.lab.host import SERVICES, Host, Service
from clustertest.lab.network import Network, seconds
from clustertest.lab.packages import ensure_packages
from clustertest.lab.process import Identity, wait_until
from clustertest.lab.progress import Progress
from clustertest.lab.settings import API_PORT, ETCD_PORT, HOSTS_MAX, Settings, settings
from clustertest.lab.state import State

ENGINE_LIMIT_S = 40.0
ETCD_LIMIT_S = 30.0
SWARM_LIMIT_S = 40.0
LEASE_TTL = "5s"
ETCD_USER = "pgswarm"

T = TypeVar("T")


class Lab:
    """
    A lab that is up.

    `Lab.up()` makes one and takes away what an earlier one left; `Lab.attach()` finds the one that runs.
    As a context manager it takes itself down, also when the block is interrupted.
    """

    def __init__(self, where: Settings, state: State, progress: Progress) -> None:
        self.settings = where
        self.state = state
        self._progress = progress
        self._network = Network(where)
        self.hosts = [Host(where, self._network, number + 1) for number in range(state.hosts)]

    # --- life ---

    @classmethod
    def up(
        cls,
        hosts: int = 3,
        *,
        etcd: str = "3.5",
        tls: bool = False,
        pgswarm: bool = True,
        progress: Progress | None = None,
    ) -> Lab:
        """Make a lab of this many hosts; whatever an earlier lab of this name left is removed first."""
        if not 1 <= hosts <= HOSTS_MAX:
            raise LabError(f"a lab has 1 to {HOSTS_MAX} hosts, not {hosts}")
        if os.geteuid():
            raise LabError("a lab needs root: it makes network namespaces and starts Docker engines")
        where, progress = settings(), progress or Progress()
        ensure_packages(progress)
        remove_all(where, progress)
        where.folder.mkdir(parents=True, mode=0o711, exist_ok=True)
        lab = cls(where, State(hosts, etcd, tls, pgswarm), progress)
        try:
            lab._make()
        except BaseException:
            progress.say(f"failed; logs stay in {where.folder} until the next up or down")
            remove_all(where, progress, keep_files=True)
            raise
        return lab

    @classmethod
    def attach(cls, *, progress: Progress | None = None) -> Lab:
        """The lab that is up; LabError if there is none."""
        where = settings()
        return cls(where, State.load(where.folder), progress or Progress(quiet=True))

    def down(self) -> None:
        """Remove everything."""
        remove_all(self.settings, self._progress)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # --- making ---

    def _make(self) -> None:
        seed = Seed(self.settings, self._progress)
        seed.ensure()
        self._progress.say(f"etcd {self.state.etcd}")
        fetch(self.settings.cache, self.state.etcd)
        self._write_secrets()
        self.state.save(self.settings.folder)
        self._progress.say(f"{len(self.hosts)} hosts on {self.settings.bridge}, {self.settings.network}.0/24")
        self._network.make_bridge()

        def boot(host: Host) -> None:
            host.boot()
            host.start(self._service(host, "etcd"))
            seed.plant(host.folder / "docker")
            host.start(self._service(host, "dockerd"))
            self._await_engine(host)
            self._progress.say(f"{host.name} {host.address}: engine up")

        self._each(boot)
        self._secure_etcd()
        self._form_swarm()
        if self.state.pgswarm:
            self._start_pgswarm()
        self._progress.say("up")

    def _each(self, action: Callable[[Host], T]) -> list[T]:
        """Do it on all hosts at once; the first failure is raised when all have ended."""
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            return list(pool.map(action, self.hosts))

    def _write_secrets(self) -> None:
        """Passwords, the key-encryption key and, with TLS, certificates. Readable by root only."""
        for name in ("etcd-root", "etcd-pgswarm"):
            write_secret(self.settings.folder / name, secrets.token_hex(16))
        write_secret(self.key_file, base64.b64encode(secrets.token_bytes(32)).decode())
        if self.state.tls:
            certificates.make(self.settings.folder / "tls", {host.name: host.address for host in self.hosts})

    def _service(self, host: Host, name: str) -> Service:
        """How a service is started on a host."""
        if name == "etcd":
            programs = fetch(self.settings.cache, self.state.etcd)
            addresses = {each.name: each.address for each in self.hosts}
            return Service(name, tuple(member(programs, host.folder, host.name, addresses, self.tls)), {})
        if name == "dockerd":
            return Service(name, tuple(dockerd(host.folder, host.engine.socket, host.netns)), {})
        return Service(name, (str(self.settings.pgswarm), "run"), self.pgswarm_environment(host))

    def _await_engine(self, host: Host) -> None:
        wait_until(host.engine.answers, ENGINE_LIMIT_S, f"{host.name}'s engine", log=host.log("dockerd"))

    def _await_etcd(self, hosts: Sequence[Host]) -> None:
        for host in hosts:
            gateway = Gateway(host.address, self.tls)
            wait_until(gateway.healthy, ETCD_LIMIT_S, f"etcd on {host.name}", log=host.log("etcd"))

    def _secure_etcd(self) -> None:
        self._await_etcd(self.hosts)
        folder = self.settings.folder
        root, pgswarm = (folder / "etcd-root").read_text(), self.etcd_password_file.read_text()
        Gateway(self.hosts[0].address, self.tls).secure({"root": root, ETCD_USER: pgswarm})
        self._progress.say("etcd: one cluster, authentication on")

    def _form_swarm(self) -> None:
        first, *others = self.hosts
        token = first.engine.swarm_init(first.address)
        for host in others:
            host.engine.swarm_join(host.address, first.address, token)
        self._await_swarm()
        self._progress.say(f"one Swarm of {len(self.hosts)} managers")

    def _await_swarm(self) -> None:
        want = len(self.hosts)
        for host in self.hosts:
            ready = ready_managers(host, want)
            what = f"{want} managers as {host.name} sees them"
            wait_until(ready, SWARM_LIMIT_S, what, log=host.log("dockerd"))

    def _start_pgswarm(self) -> None:
        if not self.settings.pgswarm.exists():
            self._progress.say(f"no pgswarm: {self.settings.pgswarm} is not there")
            return
        self._each(lambda host: host.start(self._service(host, "pgswarm")))
        self._progress.say("pgswarm started on every host")

    # --- what there is ---

    @property
    def tls(self) -> Tls | None:
        """The certificates, if etcd speaks TLS."""
        return Tls(self.settings.folder / "tls") if self.state.tls else None

    @property
    def key_file(self) -> Path:
        """The key that encrypts secrets in etcd; the same on every host."""
        return self.settings.folder / "kek"

    @property
    def etcd_password_file(self) -> Path:
        """The password of the etcd user `pgswarm`."""
        return self.settings.folder / "etcd-pgswarm"

    def host(self, name: str) -> Host:
        """A host by its name or number."""
        for host in self.hosts:
            if name in (host.name, str(host.number)):
                return host
        raise LabError(f"no host {name!r}; there are {', '.join(host.name for host in self.hosts)}")

    def endpoints(self, first: Host | None = None) -> list[str]:
        """etcd's client URLs, one host's own before the others."""
        scheme = "https" if self.state.tls else "http"
        ordered = sorted(self.hosts, key=lambda host: (host is not first, host.number))
        return [f"{scheme}://{host.address}:{ETCD_PORT}" for host in ordered]

    def pgswarm_environment(self, host: Host) -> dict[str, str]:
        """Everything a host's `pgswarm run` is told."""
        state_dir = host.folder / "pgswarm"
        state_dir.mkdir(exist_ok=True, mode=0o700)
        env = {
            "PGSWARM_HOST": host.name,
            "PGSWARM_ETCD_ENDPOINTS": ",".join(self.endpoints(host)),
            "PGSWARM_ETCD_USER": ETCD_USER,
            "PGSWARM_ETCD_PASSWORD_FILE": str(self.etcd_password_file),
            "PGSWARM_DOCKER": host.docker_url,
            "PGSWARM_ADVERTISE_ADDRESS": host.address,
            "PGSWARM_API_LISTEN": f"{host.address}:{API_PORT}",
            "PGSWARM_INSECURE": "1",
            "PGSWARM_KEY_FILE": str(self.key_file),
            "PGSWARM_STATE_DIR": str(state_dir),
            "PGSWARM_LEASE_TTL": LEASE_TTL,
            "PYTHONUNBUFFERED": "1",
        }
        return env | self._tls_environment()

    def _tls_environment(self) -> dict[str, str]:
        if self.tls is None:
            return {}
        cert, key = self.tls.cert("pgswarm"), self.tls.key("pgswarm")
        return {
            "PGSWARM_ETCD_CA": str(self.tls.ca),
            "PGSWARM_ETCD_CERT": str(cert),
            "PGSWARM_ETCD_KEY": str(key),
            "PGSWARM_INSTANCE_ETCD_CERT": str(self.tls.cert("instances")),
            "PGSWARM_INSTANCE_ETCD_KEY": str(self.tls.key("instances")),
        }

    def environment(self) -> dict[str, str]:
        """What a person's or a test's shell needs to talk to the lab."""
        programs = fetch(self.settings.cache, self.state.etcd)
        password = self.etcd_password_file.read_text()
        env = {
            "ETCDCTL_API": "3",
            "ETCDCTL_ENDPOINTS": ",".join(self.endpoints()),
            "ETCDCTL_USER": f"{ETCD_USER}:{password}",
            "PGSWARM_ETCD_ENDPOINTS": ",".join(self.endpoints()),
            "PGSWARM_ETCD_USER": ETCD_USER,
            "PGSWARM_ETCD_PASSWORD_FILE": str(self.etcd_password_file),
            "PGSWARM_KEY_FILE": str(self.key_file),
            "PGSWARM_LAB_HOSTS": str(len(self.hosts)),
        }
        if self.tls:
            env |= {
                "ETCDCTL_CACERT": str(self.tls.ca),
                "ETCDCTL_CERT": str(self.tls.cert("pgswarm")),
                "ETCDCTL_KEY": str(self.tls.key("pgswarm")),
            } | self._tls_environment()
        for host in self.hosts:
            env[f"DOCKER_HOST_{host.number}"] = host.docker_url
            env[f"HOST_ADDR_{host.number}"] = host.address
            env[f"PGSWARM_API_{host.number}"] = host.api_url
        path = os.environ.get("PATH", "")
        return env | {"PATH": path if str(programs) in path.split(":") else f"{programs}:{path}"}

    def status(self) -> list[dict[str, object]]:
        """One row a host: is it up, and what runs on it."""
        rows: list[dict[str, object]] = []
        for host in self.hosts:
            running = {name: identity(host.service(name)) for name in SERVICES}
            rows.append({"host": host.name, "address": host.address, "up": host.running(), **running})
        return rows

    def exec(self, name: str, *argv: str, limit_s: float = 60.0, check: bool = True) -> str:
        """Standard output of a command that ran inside a host."""
        return self.host(name).exec(argv, limit_s=limit_s, check=check)

    # --- faults ---

    def kill(self, name: str, only: str | None = None, number: signal.Signals = signal.SIGKILL) -> None:
        """Cut a host's power, or kill one of its services."""
        host = self.host(name)
        if only is None:
            host.power_off()
        else:
            host.kill(checked(only), number)

    def start(
        self, name: str, only: str | None = None, *, environment: Mapping[str, str] | None = None
    ) -> None:
        """
        Boot a host that was killed with everything on it, or start one service again, and wait for it.

        Args:
            environment: What that one service gets besides what it always gets, until it is started again.
        """
        host = self.host(name)
        if only is None:
            if host.running():
                raise LabError(f"{host.name} is up; --only starts one of its services")
            host.boot()
            self._apply_faults(host)
        for service in SERVICES if only is None else (checked(only),):
            if service == "pgswarm" and not (only or self._has_pgswarm()):
                continue
            if host.service(service):
                raise LabError(f"{host.name}: {service} runs already")
            what = self._service(host, service)
            host.start(replace(what, env={**what.env, **(environment or {})}))
            if service == "dockerd":
                self._await_engine(host)

    def _has_pgswarm(self) -> bool:
        return self.state.pgswarm and self.settings.pgswarm.exists()

    def pause(self, name: str, only: str | None = None) -> None:
        """Freeze a host, or one of its services: it keeps its connections and says nothing."""
        self._signal(name, only, signal.SIGSTOP)

    def resume(self, name: str, only: str | None = None) -> None:
        """End a pause."""
        self._signal(name, only, signal.SIGCONT)

    def _signal(self, name: str, only: str | None, number: signal.Signals) -> None:
        host = self.host(name)
        if only is None:
            host.signal_all(number)
        else:
            host.pause(checked(only), number)

    def partition(self, one: str, other: str) -> None:
        """Cut the wire between two hosts; `rest` as the second cuts the first off from all others."""
        first = self.host(one)
        seconds = [h for h in self.hosts if h is not first] if other == "rest" else [self.host(other)]
        for second in seconds:
            if second is first:
                raise LabError(f"{first.name} cannot be cut off from itself")
            pair = (min(first.number, second.number), max(first.number, second.number))
            if pair not in self.state.cut:
                self.state.cut.append(pair)
        self._faults_changed()

    def heal(self) -> None:
        """End every partition and every delay."""
        self.state.cut.clear()
        self.state.slow.clear()
        self._faults_changed()

    def slow(self, name: str, delay: str) -> None:
        """Delay everything a host sends (`200ms`, `1.5s`); `0` ends it."""
        host = self.host(name)
        if seconds(delay):
            self.state.slow[str(host.number)] = delay
        else:
            self.state.slow.pop(str(host.number), None)
        self._faults_changed()

    def _faults_changed(self) -> None:
        self.state.save(self.settings.folder)
        for host in self.hosts:
            if host.running():
                self._apply_faults(host)

    def _apply_faults(self, host: Host) -> None:
        """Make a host's network what the state says; also after it booted anew."""
        self._network.isolate(host.number, self.state.cut_from(host.number))
        self._network.delay(host.number, seconds(self.state.slow.get(str(host.number), "0")))

    # --- images ---

    def load_images(self) -> None:
        """Bring every host that is up to the images in the cache."""
        seed = Seed(self.settings, self._progress)
        for host in self.hosts:
            if host.engine.answers():
                seed.load(host.engine)


def remove_all(where: Settings, progress: Progress, *, keep_files: bool = False) -> None:
    """Remove every trace of the lab of this name: of one that is up, and of one that crashed."""
    network = Network(where)
    numbers = {int(name.rsplit("-h", 1)[1]) for name in network.namespaces()}
    numbers |= {int(path.name.rsplit("-", 1)[1]) for path in where.folder.glob("host-[1-9]")}
    hosts = [Host(where, network, number) for number in sorted(numbers)]
    if hosts:
        progress.say(f"removing {', '.join(host.name for host in hosts)}")
    for host in hosts:
        host.power_off()
    network.remove()
    if not keep_files:
        for host in hosts:
            host.wipe()
        shutil.rmtree(where.folder, ignore_errors=True)


def ready_managers(host: Host, want: int) -> Callable[[], bool]:
    """A question for wait_until."""
    return lambda: host.engine.ready_managers() == want


def checked(service: str) -> str:
    """The name of a service, or LabError."""
    if service not in SERVICES:
        raise LabError(f"no service {service!r}; there are {', '.join(SERVICES)}")
    return service


def identity(found: Identity | None) -> int:
    """A process id for people; 0 when there is none."""
    return found.pid if found else 0


def write_secret(path: Path, text: str) -> None:
    """Write a file that nobody but its owner ever could read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def exports(env: Mapping[str, str]) -> str:
    """Lines for a shell to eval."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in env.items())
