from __future__ import annotations

import asyncio
from collections import Counter

from controlplane.sources.ticker import Ticker
from crds.meta import Key
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.loop import run


def ticked(known: list[Key], seconds: float, *, seed: int = 0) -> list[tuple[float, Key]]:
    async def main() -> list[tuple[float, Key]]:
        clock = FakeClock(0.0)
        heard: list[tuple[float, Key]] = []
        ticker = Ticker(
            clock,
            FakeIds(seed),
            known=lambda: known,
            enqueue=lambda key: heard.append((clock.monotonic(), key)),
            period_s=60.0,
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(ticker.run())
            await asyncio.sleep(seconds)
            running.cancel()
        return heard

    return run(main())


KEYS = [Key("database", f"db-{number}") for number in range(1_000)]


def test_every_key_comes_about_once_a_period() -> None:
    counts = Counter(key for _, key in ticked(KEYS, 600))
    assert set(counts) == set(KEYS)
    assert min(counts.values()) >= 8
    assert max(counts.values()) <= 11


def test_the_keys_are_a_trickle_not_a_wave() -> None:
    per_second = Counter(int(at_s) for at_s, _ in ticked(KEYS, 600))
    assert max(per_second.values()) <= 60


def test_two_hosts_do_not_tick_in_step() -> None:
    assert ticked(KEYS[:1], 300, seed=1)[0][0] != ticked(KEYS[:1], 300, seed=2)[0][0]


def test_keys_that_come_and_go_are_seen_in_the_next_period() -> None:
    known = [KEYS[0]]
    assert {key for _, key in ticked(known, 150)} == {KEYS[0]}
    assert ticked([], 150) == []
