"""One host of a lab: booted, killed, paused and booted again, whole or one service of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clustertest.lab.engine import Engine
from clustertest.lab.errors import LabError
from clustertest.lab.network import Network
from clustertest.lab.process import Identity, children, outer_pid, run, wait_until
from clustertest.lab.settings import API_PORT, Settings

SERVICES = ("etcd", "dockerd", "pgswarm")
BOOT_LIMIT_S = 15.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Service:
    """One long-running program of a host, and the environment it gets (and nothing else)."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]


class Host:
    """
    A machine, as far as its programs can tell.

    Its first process holds a process namespace: when that dies the kernel kills everything in it at once,
    engine, containers and all, which is what a power cut does. The folder on disk survives.
    """

    def __init__(self, settings: Settings, network: Network, number: int) -> None:
        self._settings = settings
        self._network = network
        self.number = number
        self.name = f"host-{number}"
        self.address = settings.address(number)
        self.folder = settings.host_folder(number)
        self.netns = settings.netns(number)
        self.engine = Engine(self.folder / "docker.sock")

    @property
    def docker_url(self) -> str:
        """What DOCKER_HOST takes."""
        return self.engine.url

    @property
    def api_url(self) -> str:
        """Where this host's pgswarm answers."""
        return f"http://{self.address}:{API_PORT}"

    def log(self, service: str) -> Path:
        """What a service wrote; kept over restarts."""
        return self.folder / f"{service}.log"

    # --- the whole host ---

    def boot(self) -> None:
        """Wire the host up and start its first process; no service yet."""
        self._network.remove_namespace(self.netns)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "run").mkdir(exist_ok=True)
        booted = self.folder / "run/booted"
        booted.unlink(missing_ok=True)
        self.engine.socket.unlink(missing_ok=True)
        self._network.make_namespace(self.number)
        outer = subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{self.netns}", "--"),
                *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--"),
                *(sys.executable, "-I", str(Path(__file__).with_name("init.py"))),
                *(str(self.folder / "run"), self.name, json.dumps(self._files())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log("init").open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={"PATH": PATH},
        )
        wait_until(
            lambda: booted.exists() or outer.poll() is not None,
            BOOT_LIMIT_S,
            f"{self.name} to boot",
            every_s=0.02,
            log=self.log("init"),
        )
        found = [Identity.of(pid) for pid in children(outer.pid)]
        if not found or found[0] is None:
            raise LabError(f"{self.name} did not boot; see {self.log('init')}")
        found[0].save(self.folder / "run/init.pid")

    def _files(self) -> dict[str, str]:
        """
        This host's own /etc files.

        The name server is the host itself, where nobody listens: a look-up is refused at once. Not loopback:
        Docker would replace that in containers by a public server that cannot be reached, and each pull would
        wait for it.
        """
        return {
            "hostname": f"{self.name}\n",
            "hosts": f"127.0.0.1 localhost\n{self.address} {self.name}\n",
            "resolv.conf": f"nameserver {self.address}\noptions timeout:1 attempts:1\n",
        }

    @property
    def init(self) -> Identity | None:
        """The host's first process, or None while the host is down."""
        return Identity.load(self.folder / "run/init.pid")

    def running(self) -> bool:
        """True while the host is up; what it runs is another question."""
        return self.init is not None

    def _up(self) -> Identity:
        found = self.init
        if found is None:
            raise LabError(f"{self.name} is down")
        return found

    def power_off(self) -> None:
        """SIGKILL everything at once and pull the wire out. The disk stays."""
        found = self.init
        if found:
            found.end()
        self._network.remove_namespace(self.netns)

    def wipe(self) -> None:
        """Remove what the host kept on disk, and its cgroups."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            raise LabError(f"{self.folder} could not be removed; is something mounted there?")
        remove_cgroups(self.netns)

    def signal_all(self, number: signal.Signals) -> None:
        """Signal every process of the host except its first, containers included."""
        self._up()
        run([*self._inside(), "kill", f"-{number.name.removeprefix('SIG')}", "--", "-1"], check=False)

    # --- services ---

    def start(self, service: Service) -> Identity:
        """Start a service inside the host, in the background, its output appended to its log."""
        init = self._up()
        script = 'log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!'
        clean = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8"]
        clean += [f"{name}={value}" for name, value in service.env.items()]
        argv = [*self._inside(), *clean, "sh", "-c", script, "sh", str(self.log(service.name)), *service.argv]
        inner = int(run(argv).strip())
        outer = outer_pid(inner, init.pid)
        found = Identity.of(outer) if outer else None
        if found is None:
            raise LabError(f"{self.name}: {service.name} ended at once; see {self.log(service.name)}")
        found.save(self._pid_file(service.name))
        return found

    def service(self, name: str) -> Identity | None:
        """The process of a service, or None while it does not run."""
        return Identity.load(self._pid_file(name)) if self.running() else None

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """
        Kill one service. Containers outlive their engine, as they do anywhere.

        An engine's private containerd goes with it: left behind it would block the next start.
        """
        found = self.service(name)
        companion = self._containerd() if name == "dockerd" else None
        for process in (found, companion):
            if process and number == signal.SIGKILL:
                process.end()
            elif process:
                process.send(number)
        if name == "dockerd":
            self._remove_stale()

    def pause(self, name: str, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT one service."""
        found = self.service(name)
        if found is None:
            raise LabError(f"{self.name}: {name} does not run")
        found.send(number)

    def _containerd(self) -> Identity | None:
        init = self.init
        path = Path(f"/proc/{init.pid}/root/run/docker/containerd/containerd.pid") if init else None
        if init is None or path is None or not path.exists():
            return None
        outer = outer_pid(int(path.read_text()), init.pid)
        return Identity.of(outer) if outer else None

    def _remove_stale(self) -> None:
        """Sockets and pid files of a killed engine keep the next one from starting."""
        init = self.init
        root = Path(f"/proc/{init.pid}/root/run") if init else None
        self.engine.socket.unlink(missing_ok=True)
        if root:
            for name in ("docker.pid", "docker.sock", "docker/containerd/containerd.pid"):
                (root / name).unlink(missing_ok=True)
            for stale in (root / "docker/containerd").glob("*.sock*"):
                stale.unlink(missing_ok=True)

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"run/{name}.pid"

    # --- commands ---

    def _inside(self) -> list[str]:
        """The words before a command that runs inside the host."""
        return ["nsenter", "-t", str(self._up().pid), "-m", "-u", "-i", "-n", "-p", "--"]

    def environment(self) -> dict[str, str]:
        """What a command inside the host gets."""
        return {**os.environ, "PATH": PATH, "DOCKER_HOST": self.docker_url}

    def exec(self, argv: Sequence[str], *, limit_s: float = 60.0, check: bool = True) -> str:
        """Standard output of a command that ran inside the host."""
        return run([*self._inside(), *argv], limit_s=limit_s, check=check, env=self.environment())

    def interactive(self, argv: Sequence[str]) -> int:
        """Run a command inside the host on this terminal; its exit code."""
        return subprocess.run([*self._inside(), *argv], env=self.environment(), check=False).returncode


def remove_cgroups(name: str) -> None:
    """Take a cgroup and those below it out of every hierarchy; only empty ones can go."""
    root = Path("/sys/fs/cgroup")
    for top in [root / name, *root.glob(f"*/{name}")]:
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                continue
