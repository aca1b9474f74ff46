"""The resync: every key is looked at once in a while even if nothing happened, spread over the period."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from crds.meta import Key
from reconcilers.ports import Clock, Ids

SLICES = 60


class Ticker:
    """
    Hands every known key to `enqueue` once a period.

    The keys come in small portions, so that ten thousand databases are a steady trickle, not a wave a minute; and
    each wait is jittered, so that the hosts' trickles do not fall into step.

    Args:
        known: The keys there are; asked anew in each period.
        period_s: Seconds in which each key comes once.
    """

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        *,
        known: Callable[[], Iterable[Key]],
        enqueue: Callable[[Key], None],
        period_s: float = 60.0,
    ) -> None:
        assert period_s > 0
        self._clock, self._ids = clock, ids
        self._known, self._enqueue = known, enqueue
        self._step_s = period_s / SLICES

    async def run(self) -> None:
        """Runs until cancelled."""
        await self._clock.sleep(self._ids.jitter(self._step_s * SLICES))
        while True:
            keys = sorted(self._known())
            for portion in range(SLICES):
                for key in keys[portion::SLICES]:
                    self._enqueue(key)
                await self._clock.sleep(self._step_s * 0.9 + self._ids.jitter(self._step_s * 0.2))
