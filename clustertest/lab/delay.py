"""
A wire that takes its time: carries frames between two interfaces, one direction late.

In place of tc's netem, which many kernels are built without. Run as a script, so it imports nothing of the
lab; it ends by itself when one of its interfaces is removed.

    delay.py wire FROM TO SECONDS     what comes in on FROM leaves on TO after SECONDS; the other way at once
    delay.py offload INTERFACE 0|1    checksums and segmentation; nobody would do them on this wire
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import sys
import time
from array import array
from collections import deque

EVERY_PROTOCOL = 0x0003
FRAME_BYTES_MAX = 65_600
FRAMES_MAX = 50_000
READ_AT_ONCE_MAX = 256
SIOCETHTOOL = 0x8946
OFFLOADS = {"tx checksum": 0x17, "tso": 0x1F, "gso": 0x24}


def offload(interface: str, value: int) -> None:
    """Switch an interface's offloads; with them off, every frame on the wire is complete."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in OFFLOADS.values():
            data = array("B", struct.pack("II", command, value))
            fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP", interface.encode(), data.buffer_info()[0]))


def opened(interface: str) -> socket.socket:
    """A raw socket that sees what comes in on an interface, and only that."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    raw.bind((interface, EVERY_PROTOCOL))
    raw.setblocking(False)
    return raw


def frames(raw: socket.socket) -> list[bytes]:
    """What has arrived, without waiting; what the interface itself sent is left out."""
    found: list[bytes] = []
    for _ in range(READ_AT_ONCE_MAX):
        try:
            frame, origin = raw.recvfrom(FRAME_BYTES_MAX)
        except BlockingIOError:
            break
        if origin[2] != socket.PACKET_OUTGOING:
            found.append(frame)
    return found


def send(raw: socket.socket, frame: bytes) -> None:
    """Pass a frame on; a full queue loses it, as a wire does."""
    try:
        raw.send(frame)
    except (BlockingIOError, InterruptedError):
        return
    except OSError as exc:
        if exc.errno not in (90, 105):  # too long for the interface, no buffer space
            raise


def carry(near: socket.socket, far: socket.socket, delay_s: float) -> None:
    """Carry frames until an interface goes away, which a socket reports as OSError."""
    late: deque[tuple[float, bytes]] = deque(maxlen=FRAMES_MAX)
    while True:
        wait_s = max(0.0, late[0][0] - time.monotonic()) if late else 1.0
        select.select([near, far], [], [], wait_s)
        now_s = time.monotonic()
        late.extend((now_s + delay_s, frame) for frame in frames(near))
        for frame in frames(far):
            send(near, frame)
        now_s = time.monotonic()
        while late and late[0][0] <= now_s:
            send(far, late.popleft()[1])


def main() -> int:
    """Exit 0 when the wire was removed."""
    if sys.argv[1] == "offload":
        offload(sys.argv[2], int(sys.argv[3]))
        return 0
    near, far = opened(sys.argv[2]), opened(sys.argv[3])
    try:
        carry(near, far, float(sys.argv[4]))
    except OSError:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
