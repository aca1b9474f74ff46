"""
The one member of an embedded etcd, as files and flags: what it is started with, and what must be there before.

No process is started here; that is embedded_etcd.py.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.config import Config
from reconcilers.errors import TerminalError
from reconcilers.ports import Ids, Secret

USER = "pgswarm"
QUOTA_BYTES = 2 * 1024**3
TAIL_CHARS = 1_500


class EmbeddedEtcdError(TerminalError):
    """The etcd of this host cannot run; the message says what to do."""

    reason = "EmbeddedEtcd"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is. `gateway` is the host's address on the Docker bridge, or "" without one."""

    folder: Path
    port: int
    gateway: str
    user: str
    password_file: Path

    @property
    def data(self) -> Path:
        return self.folder / "etcd"

    @property
    def log(self) -> Path:
        return self.folder / "etcd.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / "etcd.pid"

    @property
    def root_password_file(self) -> Path:
        return self.folder / "etcd-root"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def urls(self) -> tuple[str, ...]:
        """Where clients may knock."""
        return (self.url, f"http://{self.gateway}:{self.port}") if self.gateway else (self.url,)

    def argv(self, program: Path) -> list[str]:
        # A member without others still wants a peer address; it stays on loopback and nobody ever calls it.
        peer, clients = f"http://127.0.0.1:{self.port + 1}", ",".join(self.urls())
        return [
            str(program),
            "--name=pgswarm",
            f"--data-dir={self.data}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=pgswarm={peer}",
            "--initial-cluster-token=pgswarm-embedded",
            "--auth-token-ttl=300",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=10m",
            f"--quota-backend-bytes={QUOTA_BYTES}",
            "--snapshot-count=10000",
            "--logger=zap",
            "--log-level=warn",
        ]


def settled(config: Config, layout: Layout) -> Config:
    """The settings as they are when this etcd runs."""
    return config.model_copy(
        update={
            "etcd_endpoints": (layout.url,),
            "instance_etcd_endpoints": layout.urls()[-1:],
            "etcd_user": layout.user,
            "etcd_password_file": layout.password_file,
        }
    )


def find_program(folder: Path) -> Path:
    """`bin/etcd` in the state directory, else on the path. Raises: EmbeddedEtcdError."""
    own = folder / "bin/etcd"
    found = str(own) if own.exists() else shutil.which("etcd")
    if found is None:
        raise EmbeddedEtcdError(
            f"embeddedEtcd needs the etcd program: install etcd-server, or put it at {own}"
        )
    return Path(found)


def password(file: Path, ids: Ids) -> Secret:
    """What the file says; without one it is made, readable by its owner only. Raises: EmbeddedEtcdError."""
    if not file.exists():
        _write_whole(file, ids.token().reveal() + "\n")
    text = file.read_text(encoding="utf-8").strip()
    if not text:
        raise EmbeddedEtcdError(f"{file} is empty: put the password back into it")
    return Secret(text)


def _write_whole(file: Path, text: str) -> None:
    """The file appears with all its text or not at all, whenever the power goes."""
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_free(address: str, port: int) -> None:
    """Raises: EmbeddedEtcdError when somebody else has the port, or this host has no such address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as exc:
            raise EmbeddedEtcdError(f"etcd cannot listen on {address}:{port}: {exc.strerror}") from exc


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Only one process looks after the etcd of a state directory. Raises: EmbeddedEtcdError."""
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise EmbeddedEtcdError(f"another pgswarm runs the etcd of {file.parent}") from exc
        yield


def tail(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[-TAIL_CHARS:].strip()
    except OSError:
        return ""
