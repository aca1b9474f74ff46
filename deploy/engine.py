"""
The Docker engine of `make up`: the one that is there, or one that we install and start; and its Swarm.

What we start we stop again, and only that. An engine under systemd is systemd's; without it the engine is a process
of ours, known by its pid file in the state directory.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from clustertest.lab.engine import Engine
from clustertest.lab.errors import LabError
from clustertest.lab.process import Identity, attempt, run, wait_until
from deploy.packages import docker_programs, install, missing
from deploy.site import Made, Site
from deploy.steps import Steps

START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
PORT = 2377
LOOPBACK = "127.0.0.1"
SYSTEMD = Path("/run/systemd/system")
SYSTEMD_UNITS = ("docker.socket", "docker.service")
RUN = Path("/run/docker")


def pid_file(site: Site) -> Path:
    return site.state / "dockerd.pid"


def ensure(site: Site, made: Made, steps: Steps) -> str:
    """
    Have an engine that answers; say which.

    Raises:
        LabError: none could be had; with the end of its log.
    """
    engine = Engine(site.socket)
    how = "found"
    if not engine.answers():
        if site.named_socket:
            raise LabError(f"DOCKER_HOST is unix://{site.socket}, and no engine answers there")
        install(missing(docker_programs()), steps)
        how = start(site, made, steps)
    # The client of images/build.py; the engine may have come without it.
    install(missing(docker_programs() if how != "found" else {"docker": docker_programs()["docker"]}), steps)
    version = engine.call("GET", "/version")
    return f"{how}, Docker {version['Version']} at {site.socket}"


def start(site: Site, made: Made, steps: Steps) -> str:
    """Start the engine that is installed, under systemd if that runs the machine."""
    engine = Engine(site.socket)
    if SYSTEMD.is_dir():
        run(["systemctl", "start", "docker.service"], limit_s=START_LIMIT_S)
        made.engine = "systemd"
        made.save(site.state)
        wait_until(engine.answers, START_LIMIT_S, "Docker to answer (see journalctl -u docker)")
        return "started by systemd"
    refuse_beside_another()
    # To take the engine's bridges away again, in the end.
    install(missing({"ip": "iproute2"}), steps)
    made.engine, made.forward_policy = "process", made.forward_policy or forward_policy()
    made.save(site.state)
    remove_stale(site.socket)
    log = site.state / "dockerd.log"
    with log.open("a") as out:
        process = subprocess.Popen(
            ["dockerd", f"--host=unix://{site.socket}"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
        )
    identity = Identity.of(process.pid)
    if identity is not None:
        identity.save(pid_file(site))
    wait_until(
        lambda: engine.answers() or process.poll() is not None, START_LIMIT_S, "Docker to answer", log=log
    )
    if process.poll() is not None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise LabError(f"dockerd ended at once; the end of {log}:\n{tail}")
    return "started by us (there is no systemd)"


def refuse_beside_another() -> None:
    """Raises: LabError when an engine runs that does not answer where we ask."""
    try:
        pid = int(Path("/run/docker.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError):
        return
    if "dockerd" in command.split("\0")[0]:
        raise LabError(
            f"dockerd runs (process {pid}) and does not answer; look at it, or end it, and try again"
        )


def remove_stale(socket: Path) -> None:
    """What a killed engine leaves keeps the next one from starting: its containerd, sockets, pid files."""
    companion = RUN / "containerd/containerd.pid"
    if companion.exists():
        found = Identity.of(int(companion.read_text().strip() or 0))
        if found is not None and "containerd" in Path(f"/proc/{found.pid}/cmdline").read_text():
            found.end()
        companion.unlink(missing_ok=True)
    Path("/run/docker.pid").unlink(missing_ok=True)
    socket.unlink(missing_ok=True)
    for name in (RUN / "containerd").glob("*.sock*"):
        name.unlink(missing_ok=True)


def stop(site: Site, made: Made) -> str:
    """Stop the engine if we started it."""
    if made.engine == "systemd":
        run(["systemctl", "stop", *SYSTEMD_UNITS], limit_s=STOP_LIMIT_S)
    elif made.engine == "process":
        found = Identity.load(pid_file(site))
        if found is not None:
            found.send(signal.SIGTERM)
            wait_until(lambda: not found.alive(), STOP_LIMIT_S, "dockerd to end")
        pid_file(site).unlink(missing_ok=True)
        tidy_network(made.forward_policy)
    else:
        return "not ours, left alone"
    made.engine = made.forward_policy = ""
    made.save(site.state)
    return "stopped"


# --- what an engine leaves in the kernel ---


def forward_policy() -> str:
    """The policy of iptables' FORWARD chain; an engine sets it to DROP and leaves it so."""
    try:
        found = re.search(r"^-P FORWARD (\w+)", run(["iptables", "-w", "5", "-S", "FORWARD"]), re.M)
    except LabError:
        return ""
    return found[1] if found else ""


def tidy_network(policy: str) -> None:
    """Remove Docker's chains and bridges, as they would be after a boot."""
    for table in ("filter", "nat"):
        tables = ["iptables", "-w", "5", "-t", table]
        rules = run([*tables, "-S"], check=False).splitlines()
        for rule in rules:
            if re.match(r"-A (?!DOCKER)\S+ .*(-j DOCKER|docker0|docker_gwbridge)", rule):
                attempt([*tables, "-D", *rule.split()[1:]])
        chains = [rule.split()[1] for rule in rules if rule.startswith("-N DOCKER")]
        for flag in ("-F", "-X"):
            for chain in chains:
                attempt([*tables, flag, chain])
    if policy:
        attempt(["iptables", "-w", "5", "-P", "FORWARD", policy])
    for bridge in ("docker_gwbridge", "docker0"):
        attempt(["ip", "link", "delete", bridge])


# --- swarm ---


def ensure_swarm(site: Site, made: Made) -> str:
    """
    Have the engine in a Swarm, as a manager.

    Without one it begins one on the address SWARM_ADDR; by default on loopback, which is there without any network,
    never changes, and cannot be reached from outside.

    Raises:
        LabError: the engine is a worker, or refused.
    """
    engine = Engine(site.socket)
    swarm = engine.call("GET", "/info")["Swarm"]
    if swarm.get("LocalNodeState") == "active":
        if not swarm.get("ControlAvailable"):
            raise LabError("this engine is a worker of its Swarm: run `make up` on a manager")
        return f"active already, as {swarm.get('NodeAddr')}"
    address = os.environ.get("SWARM_ADDR") or LOOPBACK
    made.swarm = True
    made.save(site.state)
    own = f"{address}:{PORT}"
    engine.call("POST", "/swarm/init", {"AdvertiseAddr": own, "ListenAddr": own, "DataPathAddr": address})
    return f"was inactive; initialised, one manager on {address}"


def leave_swarm(site: Site, made: Made) -> str:
    """Leave the Swarm if we began it and it is still this one host."""
    engine = Engine(site.socket)
    if not made.swarm:
        return "not ours, left alone"
    swarm = engine.call("GET", "/info")["Swarm"]
    if swarm.get("LocalNodeState") != "inactive":
        if int(swarm.get("Nodes") or 0) > 1:
            return "ours, but other nodes have joined it: left alone"
        engine.call("POST", "/swarm/leave?force=true")
    made.swarm = False
    made.save(site.state)
    return "left"
