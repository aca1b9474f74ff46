"""The wires: a bridge on this machine, a namespace per host, and what can go wrong between them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from clustertest.lab.errors import LabError
from clustertest.lab.process import Identity, attempt, run
from clustertest.lab.settings import Settings

LINK = "eth0"
DELAY = [sys.executable, "-I", str(Path(__file__).with_name("delay.py"))]


class Network:
    """
    Makes, breaks and removes the lab's network.

    In the root namespace there is one bridge and one iptables chain, both named after the lab; everything
    else is inside the hosts' namespaces and goes away with them. Hosts have no way out of the bridge.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    # --- root namespace ---

    def make_bridge(self) -> None:
        """The bridge, and the permission for frames to cross it."""
        bridge = self._settings.bridge
        self._refuse_taken()
        run(["ip", "link", "add", bridge, "type", "bridge"])
        run(["ip", "address", "add", f"{self._settings.gateway}/24", "dev", bridge])
        run(["ip", "link", "set", bridge, "up"])
        self._allow_forwarding()

    def _refuse_taken(self) -> None:
        """Raises: LabError when this machine reaches these addresses in another way."""
        gateway = f"{self._settings.gateway}/"
        for line in run(["ip", "-o", "-4", "address", "show"]).splitlines():
            _, interface, _, address, *_ = line.split()
            if address.startswith(gateway):
                raise LabError(
                    f"{address} is on {interface}, perhaps of a lab of another name: PGSWARM_LAB_NETWORK takes "
                    "three other numbers, such as 10.95.0"
                )

    def _allow_forwarding(self) -> None:
        """Another engine's FORWARD DROP also drops bridged frames: accept ours, in a chain of our own."""
        chain, bridge = self._chain, self._settings.bridge
        run(["iptables", "-w", "5", "-N", chain])
        run(["iptables", "-w", "5", "-A", chain, "-i", bridge, "-o", bridge, "-j", "ACCEPT"])
        run(["iptables", "-w", "5", "-I", "FORWARD", "-j", chain])

    def remove(self) -> None:
        """Take everything away, whatever of it exists."""
        chain = self._chain
        for name in self.namespaces():
            self.remove_namespace(name)
        attempt(["iptables", "-w", "5", "-D", "FORWARD", "-j", chain])
        attempt(["iptables", "-w", "5", "-F", chain])
        attempt(["iptables", "-w", "5", "-X", chain])
        attempt(["ip", "link", "delete", self._settings.bridge])

    @property
    def _chain(self) -> str:
        return f"{self._settings.prefix.upper()}-FORWARD"

    # --- namespaces ---

    def namespaces(self) -> list[str]:
        """Names of the lab's namespaces that exist, also those an earlier crash left."""
        pattern = re.compile(rf"{re.escape(self._settings.prefix)}-h\d+")
        return sorted(path.name for path in Path("/run/netns").glob("*") if pattern.fullmatch(path.name))

    def make_namespace(self, number: int) -> None:
        """A namespace with one wire to the bridge and no route beyond it."""
        name, peer = self._settings.netns(number), f"{self._settings.netns(number)}p"
        run(["ip", "netns", "add", name])
        run(["ip", "link", "add", peer, "type", "veth", "peer", "name", LINK, "netns", name])
        run(["ip", "link", "set", peer, "master", self._settings.bridge, "up"])
        inside = ["ip", "-n", name]
        run([*inside, "address", "add", f"{self._settings.address(number)}/24", "dev", LINK])
        run([*inside, "link", "set", "lo", "up"])
        run([*inside, "link", "set", LINK, "up"])

    def remove_namespace(self, name: str) -> None:
        """End whatever lives in the namespace (it is ours by its name), then the namespace and its wire."""
        listed = run(["ip", "netns", "pids", name], check=False).split()
        for found in [Identity.of(int(pid)) for pid in listed]:
            if found:
                found.send(signal.SIGKILL)
        attempt(["ip", "link", "delete", f"{name}p"])
        attempt(["ip", "link", "delete", f"{name}a"])
        attempt(["ip", "netns", "delete", name])

    # --- faults, all inside the hosts' namespaces ---

    def isolate(self, number: int, others: Iterable[int]) -> None:
        """Make a host deaf to these others, silently, as a cut wire does. None: hear everybody."""
        name = self._settings.netns(number)
        addresses = [self._settings.address(other) for other in sorted(others)]
        attempt(["ip", "netns", "exec", name, "nft", "delete", "table", "inet", "pgsl_partition"])
        if addresses:
            rules = f"""table inet pgsl_partition {{
                chain deaf {{
                    type filter hook prerouting priority -350; policy accept;
                    ip saddr {{ {", ".join(addresses)} }} drop
                }}
            }}"""
            run(["ip", "netns", "exec", name, "nft", "-f", "-"], stdin=rules)

    def delay(self, number: int, delay_s: float) -> None:
        """
        Make everything a host sends arrive this many seconds late; 0 ends it.

        The host's wire leaves the bridge and is joined to it again by a process that holds each frame back.
        """
        name, bridge = self._settings.netns(number), self._settings.bridge
        peer, near, far = f"{name}p", f"{name}a", f"{name}b"
        attempt(["ip", "link", "delete", near])
        run(["ip", "link", "set", peer, "master", bridge])
        self._offload(number, enabled=not delay_s)
        if not delay_s:
            return
        run(["ip", "link", "add", near, "type", "veth", "peer", "name", far])
        run([*DELAY, "offload", far, "0"])
        run(["ip", "link", "set", far, "master", bridge, "up"])
        run(["ip", "link", "set", near, "up"])
        run(["ip", "link", "set", peer, "nomaster"])
        subprocess.Popen(
            [*DELAY, "wire", peer, near, f"{delay_s:.4f}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def _offload(self, number: int, *, enabled: bool) -> None:
        inside = ["nsenter", f"--net=/run/netns/{self._settings.netns(number)}", "--"]
        run([*inside, *DELAY, "offload", LINK, "1" if enabled else "0"])


def seconds(text: str) -> float:
    """`200ms` or `1.5s` as seconds; `0` as none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)|0", text)
    if not found:
        raise LabError(f"a delay is written 200ms or 1.5s (0 ends it), not {text!r}")
    return float(found[1] or 0) / (1000 if found[2] == "ms" else 1)
