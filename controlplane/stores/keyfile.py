"""
The key file: what turns sealed secrets back into secrets. It never leaves the host by our hand.

One key a line, 32 bytes in base64, oldest first; the last one seals, all of them open. To rotate, append a line on
every host. Lines that start with `#` and empty lines are skipped.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from reconcilers.errors import TerminalError

KEY_BYTES = 32
ID_BYTES = 8


class KeyFileError(TerminalError):
    """The key file cannot be used as it is; the message says what to do."""

    reason = "KeyFile"


@dataclass(frozen=True, slots=True)
class Kek:
    """A key-encryption key. Its id is derived from it and gives nothing away."""

    key: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        return hashlib.sha256(b"pgswarm kek id\0" + self.key).digest()[:ID_BYTES]


def load_or_create_kek(path: Path) -> tuple[Kek, ...]:
    """
    Keys from the file, oldest first. Without a file, make one with a fresh key (0600).

    Two processes that start at once agree on one key: the file appears whole, and only the first one's stays.

    Raises:
        KeyFileError: others may read the file, it is no regular file, it does not hold keys, or cannot be made.
    """
    try:
        if not path.exists():
            _create(path)
    except OSError as exc:
        raise KeyFileError(f"{path} cannot be made: {exc.strerror}; set keyFile or stateDir") from exc
    return load_kek(path)


def load_kek(path: Path) -> tuple[Kek, ...]:
    """As `load_or_create_kek`, but a missing file is a KeyFileError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        raise KeyFileError(f"{path}: {exc.strerror}") from exc
    # The open file is checked, not the name: nobody can swap it in between.
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise KeyFileError(f"{path} is not a regular file")
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            mode = stat.S_IMODE(found.st_mode)
            raise KeyFileError(
                f"{path} has mode {mode:04o}, so others may get at the keys: chmod 0600 {path}"
            )
        return _parse(path, file.read())


def _parse(path: Path, text: str) -> tuple[Kek, ...]:
    keks = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            key = base64.b64decode(line.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            # The line is not shown, and neither is the error that would show it.
            raise KeyFileError(f"{path}, line {number}: not {KEY_BYTES} bytes in base64") from None
        keks.append(Kek(key))
    if not keks:
        raise KeyFileError(f"{path} holds no key")
    return tuple(keks)


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was first; its key is the one
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
