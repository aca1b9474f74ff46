"""
etcd for a lab: getting the programs, starting a member, switching authentication on.

`python -m clustertest.lab.etcd --fetch DEST [--version 3.4|3.5]` prints the folder with etcd and etcdctl.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import json
import os
import ssl
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from clustertest.lab.errors import LabError
from clustertest.lab.process import run
from clustertest.lab.settings import ETCD_PEER_PORT, ETCD_PORT, REPO

# Debian's releases and the etcd each carries. The programs need only libc, so they run on either.
SUITES = {"3.4": "bookworm", "3.5": "trixie"}
FETCH_LIMIT_S = 180.0

Reply = dict[str, object]


def fetch(destination: Path, version: str = "3.5") -> Path:
    """
    Put etcd of this version into a folder, from the archive this machine installs from.

    Uses a package root of its own: nothing is installed and no source of this machine changes.
    """
    target = destination / f"etcd-{version}"
    programs = target / "usr/bin"
    if (programs / "etcd").exists() and (programs / "etcdctl").exists():
        return programs
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=destination) as scratch:
        root = Path(scratch)
        env = {**os.environ, "APT_CONFIG": str(private_apt(root, SUITES[version]))}
        run(["apt-get", "update", "-qq"], env=env, limit_s=FETCH_LIMIT_S)
        inside = f'cd "{root}" && apt-get download -qq etcd-server etcd-client'
        run(["sh", "-c", inside], env=env, limit_s=FETCH_LIMIT_S)
        unpacked = root / "unpacked"
        for package in sorted(root.glob("*.deb")):
            run(["dpkg", "-x", str(package), str(unpacked)])
        unpacked.rename(target)
    return programs


def private_apt(root: Path, suite: str) -> Path:
    """An apt configuration that knows one suite only and writes only below `root`."""
    for folder in ("parts", "lists/partial", "cache/archives/partial"):
        (root / folder).mkdir(parents=True)
    (root / "status").touch()
    main, _ = images_build().mirrors()
    if not main:
        raise LabError("found no Debian archive in /etc/apt to take etcd from")
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (root / "parts/lab.list").write_text(f"deb [signed-by={keyring}] {main} {suite} main\n")
    config = root / "apt.conf"
    config.write_text(
        f"""Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{root}/parts";
Dir::State "{root}";
Dir::State::status "{root}/status";
Dir::State::Lists "{root}/lists";
Dir::Cache "{root}/cache";
APT::Sandbox::User "root";
"""
    )
    return config


def images_build() -> ModuleType:
    """images/build.py as a module: it knows this machine's mirrors and the images' hashes."""
    spec = importlib.util.spec_from_file_location("images_build", REPO / "images/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["images_build"] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of one lab's certificate authority."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def cert(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"


def member(programs: Path, folder: Path, name: str, addresses: dict[str, str], tls: Tls | None) -> list[str]:
    """
    The command that starts the member `name` of the cluster `addresses` (name to address).

    It listens on the host's address, where containers reach it too, and on the host's loopback.
    """
    own, scheme = addresses[name], "https" if tls else "http"
    peers = ",".join(f"{n}=http://{a}:{ETCD_PEER_PORT}" for n, a in addresses.items())
    argv = [
        str(programs / "etcd"),
        f"--name={name}",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={scheme}://{own}:{ETCD_PORT},{scheme}://127.0.0.1:{ETCD_PORT}",
        f"--advertise-client-urls={scheme}://{own}:{ETCD_PORT}",
        f"--listen-peer-urls=http://{own}:{ETCD_PEER_PORT}",
        f"--initial-advertise-peer-urls=http://{own}:{ETCD_PEER_PORT}",
        f"--initial-cluster={peers}",
        "--initial-cluster-state=new",
        "--initial-cluster-token=pgswarm-lab",
        "--auth-token-ttl=300",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=10m",
        "--logger=zap",
    ]
    if tls:
        argv += [f"--cert-file={tls.cert(name)}", f"--key-file={tls.key(name)}"]
        argv += [f"--trusted-ca-file={tls.ca}", "--client-cert-auth"]
    return argv


class Gateway:
    """etcd's JSON door: enough to see that it is healthy and to switch authentication on."""

    def __init__(self, address: str, tls: Tls | None) -> None:
        self._address = address
        self._tls = tls

    def call(self, path: str, body: object, *, method: str = "POST", limit_s: float = 5.0) -> Reply:
        """One request; LabError with etcd's own words if it refuses."""
        connection = self._connection(limit_s)
        try:
            connection.request(method, path, json.dumps(body) if method == "POST" else None)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as exc:
            raise LabError(f"etcd {self._address}: {exc or type(exc).__name__}") from exc
        finally:
            connection.close()
        if answer.status >= 400:
            raise LabError(f"etcd {self._address}: {path}: {text.strip()}")
        decoded: Reply = json.loads(text)
        return decoded

    def _connection(self, limit_s: float) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._address, ETCD_PORT, timeout=limit_s)
        context = ssl.create_default_context(cafile=str(self._tls.ca))
        context.load_cert_chain(self._tls.cert("pgswarm"), self._tls.key("pgswarm"))
        return http.client.HTTPSConnection(self._address, ETCD_PORT, timeout=limit_s, context=context)

    def healthy(self) -> bool:
        """True when this member sees a leader."""
        try:
            return str(self.call("/health", None, method="GET").get("health")).lower() == "true"
        except LabError:
            return False

    def secure(self, passwords: dict[str, str]) -> None:
        """Create these users, each with the role root, and refuse everybody else from now on."""
        for user, password in passwords.items():
            self.call("/v3/auth/user/add", {"name": user, "password": password})
            self.call("/v3/auth/user/grant", {"user": user, "role": "root"})
        self.call("/v3/auth/enable", {})


def main(argv: Sequence[str] | None = None, out: Callable[[str], None] = print) -> int:
    """Print where the programs are. Exit 0: they are there, 1: they could not be had."""
    parser = argparse.ArgumentParser(prog="python -m clustertest.lab.etcd", description="Fetch etcd.")
    parser.add_argument("--fetch", type=Path, required=True, metavar="DEST", help="folder to put it into")
    parser.add_argument("--version", choices=sorted(SUITES), default="3.5")
    args = parser.parse_args(argv)
    try:
        out(str(fetch(args.fetch, args.version)))
    except LabError as exc:
        print(f"etcd: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
