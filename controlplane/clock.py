"""Real time and real chance: the only place that reads either. No logic lives here."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from datetime import UTC, datetime

from reconcilers.ports import Secret

# Time that passes while the machine is suspended counts: etcd's clock ran on, so a lease deadline must
# have passed too. CLOCK_MONOTONIC, which the event loop uses, stands still; never mix the two.
_MONOTONIC = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_RANDOM_BITS = 80
_ULID_CHARS = 26


def ulid_text(epoch_ms: int, randomness: int) -> str:
    """Return 26 characters that sort by time: 48 bits of milliseconds, then 80 bits of `randomness`."""
    assert 0 <= epoch_ms < 1 << 48
    assert 0 <= randomness < 1 << _ULID_RANDOM_BITS
    number = epoch_ms << _ULID_RANDOM_BITS | randomness
    return "".join(_CROCKFORD[number >> 5 * place & 31] for place in reversed(range(_ULID_CHARS)))


class SystemClock:
    """`ports.Clock` on the machine's clocks."""

    def monotonic(self) -> float:
        return time.clock_gettime(_MONOTONIC)

    def now(self) -> str:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def epoch_s(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemIds:
    """`ports.Ids` on the kernel's generator. ULIDs of one process rise strictly."""

    def __init__(self) -> None:
        self._dice = secrets.SystemRandom()
        self._last = (0, 0)

    def uuid(self) -> str:
        return str(uuid.uuid4())

    def ulid(self) -> str:
        epoch_ms, last = int(time.time() * 1000), self._last
        if epoch_ms <= last[0] and last[1] + 1 < 1 << _ULID_RANDOM_BITS:
            self._last = (last[0], last[1] + 1)  # same millisecond, or the clock was set back
        else:
            self._last = (max(epoch_ms, last[0] + 1), secrets.randbits(_ULID_RANDOM_BITS))
        return ulid_text(*self._last)

    def token(self, bits: int = 192) -> Secret:
        return Secret(secrets.token_urlsafe((bits + 7) // 8))

    def jitter(self, seconds: float) -> float:
        return self._dice.random() * seconds
