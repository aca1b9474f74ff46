"""Many databases on three controllers, in virtual time: nothing is written, nobody starves or is long unowned."""

from __future__ import annotations

import json
from pathlib import Path

from tests.scale.__main__ import RUN, main
from tests.scale.promises import (
    DELAY_MAX_S,
    GRACE_S,
    NONE,
    TROUBLES,
    TTL_S,
    UNFAIR_MAX,
    death,
    edits,
    rebirth,
    steady_hour,
    unfairness,
)
from tests.scale.virtual import fleet
from tests.sim.loop import run

COUNT = 60


def test_a_steady_hour_writes_nothing() -> None:
    async def story() -> None:
        async with fleet(COUNT) as one:
            assert await steady_hour(one) == 0

    run(story())


def test_when_a_controller_dies_everything_is_owned_again_within_the_ttl_and_two_seconds() -> None:
    async def story() -> None:
        async with fleet(COUNT) as one:
            took_s = await death(one)
            assert took_s[-1] <= TTL_S + GRACE_S
            assert all(one.world.owner(name) for name in one.names)
            await rebirth(one)

    run(story())


def test_when_all_are_edited_at_once_nobody_waits_much_longer_than_others_whatever_one_suffers() -> None:
    async def story() -> None:
        async with fleet(COUNT) as one:
            took_s = {trouble: await edits(one, trouble) for trouble in TROUBLES}
            assert all(unfairness(each) <= UNFAIR_MAX for each in took_s.values()), took_s
            assert all(each[-1] <= took_s[NONE][-1] + DELAY_MAX_S for each in took_s.values()), took_s

    run(story())


def test_a_run_keeps_every_figure_and_ends_well_when_every_promise_was_kept(tmp_path: Path) -> None:
    kept = tmp_path / "reliability.json"

    assert main(["--databases", "12", "--no-hour", "--record"], kept) == 0

    entry = json.loads(kept.read_text())[RUN]
    assert (entry["passed"], entry["counts"]["missed"], entry["counts"]["met"]) == (True, 0, 6)
