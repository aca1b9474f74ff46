"""What a worker does with each way a pass can end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from controlplane.controller import CONFLICTS_MAX, OUTCOMES, Controller
from controlplane.queue import WorkQueue
from crds.meta import Key
from reconcilers.contract import Claim, Result
from reconcilers.errors import Conflict, InvalidSpec, OwnershipLost, Refused, RetryableError, Unavailable
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.loop import run
from tests.unit.controlplane.observers import Lines, Seen

KEY = Key("database", "orders")
OTHER = Key("database", "other")

Pass = Callable[[Key], Awaitable[Result]]


@dataclass
class GivenClaim:
    epoch: int = 7
    path: str = "owners/database/orders"

    def may_act(self) -> bool:
        return True


@dataclass
class GivenClaims:
    ours: set[Key] = field(default_factory=lambda: {KEY, OTHER})

    def claim(self, key: Key) -> Claim | None:
        return GivenClaim() if key in self.ours else None


class Scripted:
    """A reconciler that plays its passes one after the other (the last again and again) and notes when."""

    def __init__(self, *passes: Result | BaseException | Pass) -> None:
        self._passes = passes
        self.begun: list[tuple[float, Key]] = []

    async def reconcile(self, key: Key, claim: Claim) -> Result:
        mine = [begun for _, begun in self.begun].count(key)
        self.begun.append((asyncio.get_running_loop().time(), key))
        step = self._passes[min(mine, len(self._passes) - 1)]
        if isinstance(step, BaseException):
            raise step
        return step if isinstance(step, Result) else await step(key)

    def times_s(self, key: Key = KEY) -> list[float]:
        return [round(at_s, 2) for at_s, begun in self.begun if begun == key]


class Stage:
    def __init__(self, reconciler: Scripted, *, workers: int = 2, deadline_s: float = 30.0) -> None:
        clock = FakeClock()
        self.seen, self.log, self.claims = Seen(), Lines(), GivenClaims()
        self.queue: WorkQueue[Key] = WorkQueue("databases", clock, FakeIds(), self.seen)
        self.controller = Controller(
            "databases",
            self.queue,
            reconciler,
            self.claims,
            clock,
            self.seen,
            self.log,
            workers=workers,
            deadline_s=deadline_s,
        )

    async def play(self, seconds: float, *keys: Key) -> None:
        """Add the keys, let it run for some virtual seconds, drain."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.controller.run())
            for key in keys or (KEY,):
                self.queue.add(key)
            await asyncio.sleep(seconds)
            await self.controller.drain(1.0)


def played(reconciler: Scripted, seconds: float = 100.0, *keys: Key, deadline_s: float = 30.0) -> Stage:
    async def main() -> Stage:
        stage = Stage(reconciler, deadline_s=deadline_s)
        await stage.play(seconds, *keys)
        return stage

    return run(main())


def test_ok_looks_again_when_the_pass_said() -> None:
    reconciler = Scripted(Result(requeue_after_s=40))
    stage = played(reconciler)

    assert reconciler.times_s() == [0, 40, 80]
    assert stage.seen.outcomes == ["ok"] * 3


def test_ok_without_a_time_looks_again_only_on_an_event() -> None:
    reconciler = Scripted(Result())
    stage = played(reconciler)

    assert reconciler.times_s() == [0]
    assert stage.log.lines == []


def test_success_ends_the_back_off() -> None:
    errors = [Unavailable("docker")] * 10
    reconciler = Scripted(*errors, Result(requeue_after_s=10), Unavailable("docker"), Result())
    stage = played(reconciler)

    times_s = reconciler.times_s()
    assert stage.seen.outcomes == ["retry"] * 10 + ["ok", "retry", "ok"]
    assert times_s[10] - times_s[9] > 2
    assert times_s[12] - times_s[11] < 0.02


def test_a_dependency_that_names_a_time_is_left_alone_until_then() -> None:
    reconciler = Scripted(Unavailable("etcd", retry_after_s=20), Result())
    played(reconciler)

    assert reconciler.times_s() == [0, 20]


def test_conflicts_come_again_at_once_and_then_back_off() -> None:
    reconciler = Scripted(Conflict("orders-n1"))
    stage = played(reconciler, 0.5)

    assert set(stage.seen.outcomes) == {"conflict"}
    assert reconciler.times_s()[CONFLICTS_MAX] == pytest.approx(0.01 * CONFLICTS_MAX, abs=0.02)
    assert stage.seen.counts["retried"] == len(reconciler.begun) // (CONFLICTS_MAX + 1)
    assert len(reconciler.begun) < 60


def test_a_lost_claim_is_forgotten() -> None:
    reconciler = Scripted(OwnershipLost("database/orders"))
    stage = played(reconciler)

    assert reconciler.times_s() == [0]
    assert stage.seen.outcomes == ["lost"]


def test_a_hopeless_spec_waits_for_an_event() -> None:
    reconciler = Scripted(InvalidSpec(("line 3: no such field",)))
    stage = played(reconciler)

    assert reconciler.times_s() == [0]
    assert stage.seen.outcomes == ["terminal"]
    assert stage.log.at("warning") == ["pass ended until the spec changes"]


def test_a_bug_is_logged_with_its_traceback_and_tried_again() -> None:
    reconciler = Scripted(ZeroDivisionError("oops"), Result())
    stage = played(reconciler)

    assert stage.seen.outcomes == ["bug", "ok"]
    [(level, _, fields)] = stage.log.lines
    assert level == "error"
    assert isinstance(fields["exc_info"], ZeroDivisionError)
    assert fields["database"] == "orders"
    assert fields["epoch"] == 7


def test_no_claim_means_no_pass() -> None:
    async def main() -> None:
        reconciler = Scripted(Result())
        stage = Stage(reconciler)
        stage.claims.ours.clear()
        stage.queue.retry(KEY)
        await stage.play(10)

        assert reconciler.begun == []
        assert stage.seen.outcomes == ["unowned"]
        assert stage.queue.failures(KEY) == 0

    run(main())


async def hang(key: Key) -> Result:
    await asyncio.sleep(10_000)
    return Result()


def test_a_pass_that_hangs_is_cut_at_its_deadline_and_tried_again() -> None:
    reconciler = Scripted(hang, Result())
    stage = played(reconciler, deadline_s=30)

    assert stage.seen.outcomes == ["timeout", "ok"]
    assert reconciler.times_s()[1] == pytest.approx(30, abs=0.02)


def test_a_time_out_that_an_adapter_let_through_is_a_bug() -> None:
    assert played(Scripted(TimeoutError(), Result())).seen.outcomes == ["bug", "ok"]


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        pytest.param([Conflict("a"), Refused("docker", "no")], "retry", id="retry before conflict"),
        pytest.param(
            [InvalidSpec(()), Unavailable("docker")], "retry", id="a hopeless action does not stop others"
        ),
        pytest.param([Unavailable("docker"), OwnershipLost("x")], "lost", id="a lost claim ends it"),
        pytest.param([OwnershipLost("x"), KeyError("x")], "bug", id="a bug must be seen"),
        pytest.param([ExceptionGroup("", [Conflict("a")])], "conflict", id="nested"),
    ],
)
def test_the_gravest_of_several_errors_decides(errors: list[Exception], outcome: str) -> None:
    stage = played(Scripted(ExceptionGroup("several", errors), Result()))

    assert stage.seen.outcomes[0] == outcome


def test_a_poisoned_key_does_not_slow_the_others() -> None:
    async def main() -> None:
        async def poisoned(key: Key) -> Result:
            return await hang(key) if key == KEY else Result(requeue_after_s=1)

        reconciler = Scripted(poisoned)
        stage = Stage(reconciler, workers=2, deadline_s=30)
        await stage.play(600, KEY, OTHER)

        assert len(reconciler.times_s(OTHER)) == pytest.approx(600, abs=2)

    run(main())


def test_nothing_a_pass_raises_ends_a_worker() -> None:
    async def main() -> None:
        errors = [
            ValueError(),
            RetryableError(),
            Conflict(""),
            InvalidSpec(()),
            OwnershipLost(""),
            ExceptionGroup("", [OSError()]),
        ]
        reconciler = Scripted(*errors, Result())
        stage = Stage(reconciler, workers=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.controller.run())
            for _ in range(20):
                stage.queue.add(KEY)
                await asyncio.sleep(1)
            await stage.controller.drain(1)

        assert stage.seen.outcomes[-1] == "ok"
        assert set(stage.seen.outcomes) <= set(OUTCOMES)
        assert stage.seen.counts["started"] == len(stage.seen.outcomes)

    run(main())


def test_drain_lets_the_running_pass_end_and_starts_no_other() -> None:
    async def main() -> None:
        ended: list[float] = []

        async def slow(key: Key) -> Result:
            await asyncio.sleep(3)
            ended.append(asyncio.get_running_loop().time())
            return Result(requeue_after_s=1)

        reconciler = Scripted(slow)
        stage = Stage(reconciler, workers=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.controller.run())
            stage.queue.add(KEY)
            stage.queue.add(OTHER)
            await asyncio.sleep(1)
            await stage.controller.drain(10)

        assert ended == [3]
        assert len(reconciler.begun) == 1

    run(main())


def test_drain_cuts_a_pass_that_does_not_end_in_its_grace() -> None:
    async def main() -> None:
        stage = Stage(Scripted(hang), deadline_s=5_000)
        await stage.play(1)

        assert asyncio.get_running_loop().time() == pytest.approx(2)
        assert stage.seen.outcomes == ["cancelled"]
        assert stage.queue.stats().in_work == 0

    run(main())


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (Key("database", "my-shop"), {"database": "my-shop"}),
        (Key("instance", "my-shop-n1-abc234"), {"instance": "my-shop-n1-abc234", "database": "my-shop"}),
        (Key("instance", "odd"), {"instance": "odd"}),
    ],
)
def test_every_line_about_a_key_is_found_by_its_database(key: Key, named: dict[str, str]) -> None:
    async def main() -> Stage:
        stage = Stage(Scripted(Result(actions=1)))
        stage.claims.ours.add(key)
        await stage.play(1.0, key)
        return stage

    [(_, _, fields)] = run(main()).log.lines

    assert fields == {"controller": "databases", "epoch": 7, "actions": 1, **named}


def test_passes_that_wait_for_nothing_leave_others_their_turn() -> None:
    """Ten thousand of them, one after the other, would take longer than the lease lives."""

    async def main() -> int:
        stage, turns = Stage(Scripted(Result())), 0
        keys = [Key("database", f"db-{number}") for number in range(100)]
        stage.claims.ours = set(keys)

        async def renew() -> None:
            nonlocal turns
            while len(stage.seen.outcomes) < len(keys):
                turns += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(stage.play(1.0, *keys))
            group.create_task(renew())
        return turns

    assert run(main()) >= 100 // 2
