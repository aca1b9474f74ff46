"""Who owns what, and when nobody may act: several processes in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.ownership import Pace
from controlplane.placement import Member, key_of, ranking, read_member
from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import Record
from tests.sim.loop import run
from tests.unit.controlplane.hosts import CALL_S, TTL_S, Host, World, world

NAMES = [f"db{number}" for number in range(30)]
QUICK = Pace(settle_s=1.0)
ORPHAN = Key("database", "orphan")


def db(name: str) -> Key:
    return Key("database", name)


def play(story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with world() as it:
            await story(it)

    run(main())


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], bool], within_s: float) -> float:
    """Wait for it; return the seconds that it took."""
    start_s = now_s()
    while not condition():
        assert now_s() - start_s < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.01)
    return now_s() - start_s


def all_owned_once(it: World, names: list[str]) -> bool:
    return all(len(it.actors(db(name))) == 1 for name in names)


def test_a_spec_is_owned_within_milliseconds_of_being_written() -> None:
    async def story(it: World) -> None:
        host = it.start("a")
        await asyncio.sleep(2)
        it.spec("orders")

        assert await until(lambda: host.owned() == {"orders"}, within_s=1) < 0.05
        assert host.calls == [("acquired", db("orders"))]
        claim = host.ownership.claim(db("orders"))
        assert claim is not None
        assert claim.epoch == it.epoch("orders")

    play(story)


def test_two_controllers_share_the_databases_and_each_has_exactly_one_owner() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        a, b = it.start("a", pace=QUICK), it.start("b", pace=QUICK)
        await asyncio.sleep(5)

        assert all_owned_once(it, NAMES)
        assert a.owned() | b.owned() == set(NAMES)
        assert 5 <= len(a.owned()) <= 25

    play(story)


def test_a_converged_world_writes_nothing() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        it.start("a", pace=QUICK)
        it.start("b", pace=QUICK)
        await asyncio.sleep(10)
        before = it.transactions
        await asyncio.sleep(600)

        assert it.transactions == before

    play(story)


def test_at_no_moment_do_two_believe_in_one_database() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        for name in ("a", "b"):
            it.start(name, pace=QUICK)
        for step in range(4_000):
            if step == 1_000:
                it.start("c", pace=QUICK)
            if step == 2_000:
                it.hosts[0].kill()
            assert all(len(it.actors(db(name))) <= 1 for name in NAMES)
            await asyncio.sleep(0.01)

    play(story)


def test_a_controller_whose_docker_is_silent_gives_its_databases_away_and_gets_them_back() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        a, b = it.start("a", pace=QUICK), it.start("b", pace=QUICK)
        await asyncio.sleep(5)
        before = a.owned()

        a.docker.append(False)
        await until(lambda: b.owned() == set(NAMES), within_s=3)
        assert not a.owned()

        a.docker.append(True)
        await until(lambda: a.owned() == before, within_s=3)
        assert all_owned_once(it, NAMES)

    play(story)


def test_where_no_docker_answers_everybody_keeps_what_it_has() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        hosts = [it.start("a", pace=QUICK), it.start("b", pace=QUICK)]
        await asyncio.sleep(5)
        before, written = [one.owned() for one in hosts], it.owners()

        for one in hosts:
            one.docker.append(False)
        await asyncio.sleep(60)

        assert [one.owned() for one in hosts] == before
        assert it.owners() == written

    play(story)


def test_a_silent_docker_moves_nothing_to_a_controller_that_cannot_own_it() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        a = it.start("a", pace=QUICK)
        it.start("b", pace=QUICK, kinds=())
        await asyncio.sleep(5)
        a.docker.append(False)
        await asyncio.sleep(60)

        assert a.owned() == set(NAMES)

    play(story)


def test_after_a_kill_the_other_owns_everything_within_the_ttl_and_two_seconds() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        a, b = it.start("a", pace=QUICK), it.start("b", pace=QUICK)
        await asyncio.sleep(5)
        epochs = {name: it.epoch(name) for name in NAMES}
        moved = a.owned()
        a.kill()

        took_s = await until(lambda: b.owned() == set(NAMES), within_s=30)
        assert took_s <= TTL_S + 2
        for name in moved:
            assert it.epoch(name) > epochs[name]

    play(story)


def test_a_stalled_process_may_not_act_when_it_wakes_up() -> None:
    async def story(it: World) -> None:
        it.spec("orders")
        host = it.start("a")
        await asyncio.sleep(5)
        claim = host.ownership.claim(db("orders"))
        assert claim is not None
        assert claim.may_act()

        host.clock.stall(TTL_S + 1)

        assert not claim.may_act()
        assert host.ownership.claim(db("orders")) is None
        assert host.ownership.owned() == ()

    play(story)


def test_a_process_cut_off_from_etcd_stops_before_another_can_start() -> None:
    async def story(it: World) -> None:
        it.spec("orders")
        a = it.start("a", pace=QUICK)
        await asyncio.sleep(3)
        b = it.start("b", pace=QUICK)
        await asyncio.sleep(5)
        old, new = (a, b) if a.owned() else (b, a)
        old.line.cut = True
        old.records.freeze()
        cut_s = now_s()

        stopped_s = await until(lambda: not old.owned(), within_s=TTL_S)
        await until(lambda: new.owned() == {"orders"}, within_s=TTL_S + 2)
        assert stopped_s <= TTL_S - 2
        assert now_s() - cut_s > stopped_s + 1
        assert old.calls[-1] == ("lost", db("orders"))

    play(story)


def test_a_short_cut_keeps_the_epoch_and_says_resumed() -> None:
    async def story(it: World) -> None:
        it.spec("orders")
        host = it.start("a")
        await asyncio.sleep(5)
        epoch = it.epoch("orders")
        host.line.cut = True
        await until(lambda: not host.owned(), within_s=TTL_S)
        it.etcd.renew_all()  # as a new etcd leader does
        await asyncio.sleep(5)
        host.line.cut = False
        await until(lambda: host.owned() == {"orders"}, within_s=5)

        claim = host.ownership.claim(db("orders"))
        assert claim is not None
        assert claim.epoch == epoch
        await asyncio.sleep(0.3)
        assert [what for what, _ in host.calls] == ["acquired", "lost", "acquired"]

    play(story)


def test_after_a_lost_lease_everything_is_claimed_anew_with_a_new_epoch() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        host = it.start("a")
        await asyncio.sleep(5)
        old = host.ownership.claim(db("db0"))
        assert old is not None
        it.etcd.revoke(host.session.lease_id)
        await asyncio.sleep(0.01)
        assert not old.may_act()

        await until(lambda: host.owned() == set(NAMES), within_s=TTL_S)
        new = host.ownership.claim(db("db0"))
        assert new is not None
        assert new.epoch > old.epoch
        assert not old.may_act()

    play(story)


def test_a_claim_of_an_earlier_lease_stays_dead_while_the_mirror_lags() -> None:
    async def story(it: World) -> None:
        it.spec("orders")
        host = it.start("a")
        await asyncio.sleep(5)
        old = host.ownership.claim(db("orders"))
        assert old is not None
        host.records.freeze()
        lost = host.session.lease_id
        it.etcd.revoke(lost)
        await until(lambda: host.session.lease_id not in (0, lost), within_s=TTL_S)
        await asyncio.sleep(CALL_S)
        assert host.membership.believes()

        assert not old.may_act()

    play(story)


def test_a_record_made_anew_by_another_ends_the_claim_at_once() -> None:
    async def story(it: World) -> None:
        it.spec("orders")
        host = it.start("a")
        await asyncio.sleep(5)
        old = host.ownership.claim(db("orders"))
        assert old is not None
        it.etcd.remove(old.path)
        it.etcd.put(old.path, b"b")
        assert old.may_act()
        record = it.etcd.get(old.path)
        assert record is not None
        host.records.freeze()
        host.records.show(record)
        assert not old.may_act()  # in the same instant, before anybody has looked at the key
        host.ownership.changed([old.path])
        await asyncio.sleep(0.01)

        assert not old.may_act()
        assert host.owned() == set()
        assert host.calls[-1] == ("lost", db("orders"))

    play(story)


def test_a_claim_can_be_used_as_soon_as_it_is_announced() -> None:
    """The mirror shows our own record only later; a pass that found no claim would not come back."""

    async def story(it: World) -> None:
        host = await with_a_lagging_mirror(it)

        assert host.calls == [("acquired", db("orders"))]
        assert host.usable == [True]

    play(story)


async def with_a_lagging_mirror(it: World) -> Host:
    """A host that has claimed `orders` and whose mirror has not shown the record."""
    host = it.start("a")
    await asyncio.sleep(2)
    host.records.freeze()
    it.spec("orders")
    spec = it.etcd.get(paths.spec(db("orders")))
    assert spec is not None
    host.records.show(spec)
    host.ownership.changed([spec.path])
    await asyncio.sleep(0.1)
    return host


@pytest.mark.parametrize(
    ("older", "usable"),
    [
        pytest.param(0, True, id="our own: it stands"),
        pytest.param(1, True, id="an earlier owner's: not yet shown ours"),
        pytest.param(-1, False, id="a later owner's: lost"),
    ],
)
def test_a_record_in_the_mirror_decides_even_if_the_mirror_as_a_whole_lags(older: int, usable: bool) -> None:
    async def story(it: World) -> None:
        host = await with_a_lagging_mirror(it)
        claim = host.ownership.claim(db("orders"))
        assert claim is not None
        epoch = claim.epoch - older
        host.records.show(Record(claim.path, b"x", epoch, epoch))

        assert claim.may_act() is usable

    play(story)


def test_a_record_that_was_shown_and_is_gone_ends_the_claim_even_if_the_mirror_lags() -> None:
    async def story(it: World) -> None:
        host = await with_a_lagging_mirror(it)
        claim = host.ownership.claim(db("orders"))
        assert claim is not None
        host.records.show(Record(claim.path, b"a", claim.epoch, claim.epoch))
        assert claim.may_act()
        host.records.hide(claim.path)

        assert not claim.may_act()

    play(story)


def test_a_mirror_that_has_passed_the_epoch_and_shows_no_record_ends_the_claim() -> None:
    async def story(it: World) -> None:
        host = await with_a_lagging_mirror(it)
        claim = host.ownership.claim(db("orders"))
        assert claim is not None
        host.records.reach(claim.epoch)

        assert not claim.may_act()

    play(story)


def test_when_the_mirror_cannot_say_what_changed_everything_is_looked_at() -> None:
    async def story(it: World) -> None:
        host = it.start("a")
        await asyncio.sleep(2)
        host.records.freeze()
        it.spec("orders")
        spec = it.etcd.get(paths.spec(db("orders")))
        assert spec is not None
        host.records.show(spec)
        host.ownership.changed((), everything=True)
        await asyncio.sleep(0.1)

        assert host.owned() == {"orders"}

    play(story)


def test_a_stale_mirror_never_leads_to_two_owners() -> None:
    async def story(it: World) -> None:
        host = it.start("a")
        await asyncio.sleep(2)
        host.records.freeze()
        it.spec("orders")
        it.etcd.put(paths.owner(db("orders")), b"b")
        spec = it.etcd.get(paths.spec(db("orders")))
        assert spec is not None
        host.records.show(spec)
        host.ownership.changed([spec.path])
        await asyncio.sleep(3)

        assert it.owners() == {"orders": "b"}
        assert host.owned() == set()

    play(story)


def test_a_claim_answered_after_its_lease_has_ended_is_made_anew_soon() -> None:
    async def story(it: World) -> None:
        host = it.start("a")
        await asyncio.sleep(2)
        host.line.answer_after_s = 20.0
        it.spec("orders")
        await asyncio.sleep(1)
        assert it.owners() == {"orders": "a"}
        it.etcd.revoke(host.session.lease_id)
        await asyncio.sleep(15)
        host.line.answer_after_s = CALL_S / 2
        await asyncio.sleep(5)

        await until(lambda: host.owned() == {"orders"}, within_s=1)
        assert all(host.usable)

    play(story)


def test_an_owner_record_removed_by_hand_ends_the_claim_and_is_claimed_anew() -> None:
    async def story(it: World) -> None:
        it.spec("orders")
        host = it.start("a")
        await asyncio.sleep(3)
        old = host.ownership.claim(db("orders"))
        assert old is not None
        it.etcd.remove(old.path)
        await until(lambda: not old.may_act(), within_s=0.1)
        await until(lambda: host.owned() == {"orders"}, within_s=1)
        assert not old.may_act()

    play(story)


def test_a_claim_whose_answer_was_lost_is_not_believed_but_made_anew() -> None:
    async def story(it: World) -> None:
        host = it.start("a")
        await asyncio.sleep(2)
        host.line.lose_answers = 1
        it.spec("orders")
        await until(lambda: host.owned() == {"orders"}, within_s=2)

        claim = host.ownership.claim(db("orders"))
        assert claim is not None
        assert claim.epoch == it.epoch("orders")
        assert host.seen.counts["acquired"] == 1

    play(story)


def test_a_controller_that_joins_gets_its_share_after_the_others_have_settled() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        a = it.start("a", pace=Pace(settle_s=5))
        await asyncio.sleep(5)
        assert a.owned() == set(NAMES)
        b = it.start("b")
        await asyncio.sleep(4)
        assert b.owned() == set()

        await until(lambda: all_owned_once(it, NAMES) and bool(b.owned()), within_s=5)
        await asyncio.sleep(1)
        assert 5 <= len(b.owned()) <= 25

    play(story)


def test_a_controller_that_comes_and_goes_moves_nothing() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        a = it.start("a", pace=Pace(settle_s=5))
        await asyncio.sleep(5)
        before = len(a.calls)
        for _ in range(4):
            b = it.start("b")
            await asyncio.sleep(3)
            await b.ownership.hand_over()
            b.kill()
            await asyncio.sleep(3)

        assert a.owned() == set(NAMES)
        assert len(a.calls) == before

    play(story)


def test_a_hand_over_waits_for_the_running_pass_which_may_start_nothing_more() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        a = it.start("a", pace=QUICK)
        await asyncio.sleep(3)
        claims = {name: a.ownership.claim(db(name)) for name in NAMES}
        a.busy.update(db(name) for name in NAMES)
        b = it.start("b")
        await asyncio.sleep(8)
        leaving = {name for name, claim in claims.items() if claim is not None and not claim.may_act()}
        assert 5 <= len(leaving) <= 25
        assert set(it.owners().values()) == {"a"}

        a.busy.clear()
        await until(lambda: b.owned() == leaving, within_s=1)
        assert a.owned() == set(NAMES) - leaving

    play(story)


def test_sigterm_hands_everything_over_in_less_than_a_second() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        a, b = it.start("a", pace=QUICK), it.start("b", pace=QUICK)
        await asyncio.sleep(5)
        claim = a.ownership.claim(db(min(a.owned())))
        assert claim is not None
        a.ownership.freeze()
        assert not claim.may_act()
        assert len(it.owners()) == len(NAMES)
        start_s = now_s()
        await a.ownership.hand_over()
        await until(lambda: b.owned() == set(NAMES), within_s=1)

        assert now_s() - start_s < 1
        assert a.seen.held == 0
        await asyncio.sleep(30)
        assert b.owned() == set(NAMES)
        assert a.owned() == set()

    play(story)


def test_a_frozen_process_claims_nothing() -> None:
    async def story(it: World) -> None:
        host = it.start("a")
        await asyncio.sleep(2)
        host.ownership.freeze()
        it.spec("orders")
        await asyncio.sleep(60)

        assert it.owners() == {}

    play(story)


def test_a_key_that_is_neither_spec_nor_accepted_is_given_up() -> None:
    async def story(it: World) -> None:
        it.spec("orders")
        host = it.start("a", pace=QUICK)
        await asyncio.sleep(3)
        it.etcd.put(paths.accepted(db("orders")), b"{}")
        it.etcd.remove(paths.spec(db("orders")))
        await asyncio.sleep(30)
        assert host.owned() == {"orders"}

        it.etcd.remove(paths.accepted(db("orders")))
        await until(lambda: it.owners() == {}, within_s=3)
        assert host.calls[-1] == ("lost", db("orders"))
        calls = len(host.calls)
        await asyncio.sleep(100)
        assert len(host.calls) == calls

    play(story)


def test_kinds_and_paths_that_are_not_ours_are_left_alone() -> None:
    async def story(it: World) -> None:
        it.start("a")
        for path in ("specs/host/h1", "specs/database", "specs/database/", "specs/database/a/b", "specs//x"):
            it.etcd.put(path, b"{}")
        it.etcd.put("specs/database/\udcff", b"{}")
        await asyncio.sleep(5)

        assert list(it.owners()) == ["\udcff"]

    play(story)


def test_what_the_right_controller_does_not_claim_another_takes_and_keeps() -> None:
    async def story(it: World) -> None:
        a = it.start("a", pace=Pace(settle_s=1, patience_s=10))
        b = it.start("b")
        await asyncio.sleep(2)
        b.tasks["controller"].cancel()  # b's session lives, but nothing claims
        it.spec(*NAMES)
        await asyncio.sleep(5)
        assert a.owned() != set(NAMES)

        await until(lambda: a.owned() == set(NAMES), within_s=10)
        calls = len(a.calls)
        await asyncio.sleep(120)
        assert len(a.calls) == calls

    play(story)


def test_an_identity_in_use_is_waited_for() -> None:
    async def story(it: World) -> None:
        it.spec("orders")
        first = it.start("a", boot="one")
        await asyncio.sleep(3)
        second = it.start("a", boot="two")
        await asyncio.sleep(30)
        assert first.owned() == {"orders"}
        assert second.owned() == set()
        assert any("another process has this identity" in event for event in second.log.at("warning"))
        assert [what for what, _ in first.calls] == ["acquired"]
        for _ in range(5):
            it.etcd.remove(paths.owner(db("orders")))
            await asyncio.sleep(5)
        first.records.freeze()
        it.etcd.remove(paths.owner(db("orders")))
        await asyncio.sleep(5)
        assert second.calls == []

        first.kill()
        assert await until(lambda: second.owned() == {"orders"}, within_s=30) <= TTL_S + 2

    play(story)


def test_a_membership_record_removed_by_hand_is_written_again_and_moves_nothing() -> None:
    async def story(it: World) -> None:
        it.spec(*NAMES)
        a = it.start("a", pace=Pace(settle_s=0.01))
        await asyncio.sleep(3.05)  # between two looks at the session
        it.etcd.remove(paths.controller("a"))
        await asyncio.sleep(0.01)
        for name in NAMES:
            it.spec(name)
        await asyncio.sleep(10)

        assert it.etcd.get(paths.controller("a")) is not None
        assert [what for what, _ in a.calls] == ["acquired"] * len(NAMES)

    play(story)


def test_rubbish_among_the_controllers_is_ignored() -> None:
    async def story(it: World) -> None:
        it.etcd.put(paths.controller("rubbish"), b"\xff not json")
        it.etcd.put(paths.controller("list"), b"[]")
        it.spec(*NAMES)
        host = it.start("a")
        await until(lambda: host.owned() == set(NAMES), within_s=5)

    play(story)


def test_only_controllers_that_know_a_kind_are_given_it() -> None:
    async def story(it: World) -> None:
        old, new = it.start("old"), it.start("new", kinds=("database", "operation"))
        await asyncio.sleep(2)
        for name in NAMES:
            it.etcd.put(f"specs/operation/{name}", b"{}")
        await asyncio.sleep(2)

        assert new.owned() == set(NAMES)
        assert old.owned() == set()

    play(story)


def test_five_thousand_databases_change_hands_within_the_ttl_and_two_seconds() -> None:
    async def story(it: World) -> None:
        names = [f"db{number}" for number in range(5_000)]
        it.spec(*names)
        a = it.start("a")
        await until(lambda: len(a.ownership.owned()) == 5_000, within_s=5)
        b = it.start("b")
        await asyncio.sleep(2)
        before = it.transactions
        a.kill()

        took_s = 0.0
        while len(b.ownership.owned()) < 5_000:
            await asyncio.sleep(0.5)
            took_s += 0.5
            assert took_s <= TTL_S + 2
        assert it.transactions - before < 200

    play(story)


identities = st.lists(st.from_regex(r"\A[a-z0-9-]{1,12}\Z"), min_size=2, max_size=8, unique=True)


def members(names: list[str]) -> list[Member]:
    return [Member(name, "boot", ("database",)) for name in names]


@given(identities, st.data())
def test_a_controller_that_leaves_moves_only_its_own_keys(names: list[str], data: st.DataObject) -> None:
    leaver = data.draw(st.sampled_from(names))
    stay = [name for name in names if name != leaver]
    for number in range(50):
        key = db(f"db{number}")
        before = ranking(key, members(names))[0]
        after = ranking(key, members(stay))[0]
        assert after == before or before == leaver


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_a_controller_that_joins_gets_about_one_nth(count: int) -> None:
    names = [f"host-{number}" for number in range(count)]
    keys = [db(f"db{number}") for number in range(4_000)]
    before = [ranking(key, members(names[:-1]))[0] for key in keys]
    after = [ranking(key, members(names))[0] for key in keys]
    moved = [new for old, new in zip(before, after, strict=True) if old != new]

    assert set(moved) == {names[-1]}
    assert len(moved) == pytest.approx(4_000 / count, rel=0.15)
    assert max(after.count(name) for name in names) <= 1.15 * 4_000 / count


@given(st.binary(max_size=40))
def test_any_bytes_can_stand_in_a_controller_record(value: bytes) -> None:
    member = read_member(Record("controllers/x", value, 1, 1))
    assert member is None or member.identity == "x"


@given(st.text(max_size=30))
def test_a_key_comes_only_from_a_path_of_two_parts(rest: str) -> None:
    key = key_of("specs/" + rest, "specs/")
    assert (key is not None) == (len(parts := rest.split("/")) == 2 and all(parts))
    assert key is None or paths.spec(key) == "specs/" + rest


# --- keys without a record ------------------------------------------------------------------------------


def orphaned(host: Host, key: Key, *, there: bool = True) -> None:
    (host.orphans.add if there else host.orphans.discard)(key)
    host.ownership.look_at(key)


async def two_that_see_an_orphan(it: World) -> tuple[dict[str, Host], str, str]:
    """The hosts, and their names in the order in which it is their turn."""
    hosts = {name: it.start(name, pace=QUICK) for name in ("a", "b")}
    await asyncio.sleep(5)
    first, second = ranking(ORPHAN, hosts["a"].membership.members)
    for host in hosts.values():
        orphaned(host, ORPHAN)
    return hosts, first, second


def test_an_orphan_is_claimed_by_the_one_it_belongs_on_and_let_go_when_it_is_none_any_more() -> None:
    async def story(it: World) -> None:
        hosts, first, second = await two_that_see_an_orphan(it)
        await until(lambda: it.actors(ORPHAN) == [first], within_s=1)
        await asyncio.sleep(60)
        assert it.actors(ORPHAN) == [first]
        orphaned(hosts[first], ORPHAN, there=False)
        await until(lambda: it.owners() == {}, within_s=5)

        # The other one has not looked since; it must not take its turn.
        before = it.transactions
        await asyncio.sleep(180)
        assert it.transactions == before
        assert hosts[second].calls == []

    play(story)


def test_when_the_one_it_belongs_on_is_gone_the_next_one_takes_it() -> None:
    async def story(it: World) -> None:
        hosts, first, second = await two_that_see_an_orphan(it)
        hosts[first].kill()

        await until(lambda: it.actors(ORPHAN) == [second], within_s=TTL_S + 2)

    play(story)


def test_an_orphan_that_gets_a_spec_keeps_its_owner() -> None:
    async def story(it: World) -> None:
        host = it.start("a", pace=QUICK)
        await asyncio.sleep(2)
        orphaned(host, ORPHAN)
        await until(lambda: it.actors(ORPHAN) == ["a"], within_s=1)
        epoch = it.epoch(ORPHAN.name)
        it.spec(ORPHAN.name)
        orphaned(host, ORPHAN, there=False)
        await asyncio.sleep(120)

        assert it.actors(ORPHAN) == ["a"]
        assert it.epoch(ORPHAN.name) == epoch

    play(story)
