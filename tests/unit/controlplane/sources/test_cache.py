from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.sources.cache import RecordCache
from controlplane.stores.feed import Change, Gone
from reconcilers.held import HELD, by_value
from reconcilers.ports import Record

paths = st.sampled_from(["a", "a/", "a/b", "a/b/c", "ab", "b", "b/1", "b/10", "b/2", "ü/x"])


def put(path: str, revision: int) -> Record:
    return Record(path, b"%d" % revision, revision, revision)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Change]]:
    """Batches in etcd's order: revisions rise, a path occurs once a revision."""
    batches: list[list[Change]] = []
    revision = 1
    for _ in range(draw(st.integers(0, 12))):
        revision += 1
        touched = draw(st.lists(paths, unique=True, max_size=5))
        batches.append([put(p, revision) if draw(st.booleans()) else Gone(p, revision) for p in touched])
    return batches


def replay(batches: list[list[Change]]) -> dict[str, Record]:
    held: dict[str, Record] = {}
    for batch in batches:
        for change in batch:
            if isinstance(change, Gone):
                held.pop(change.path, None)
            else:
                held[change.path] = change
    return held


@given(histories())
def test_after_any_history_the_cache_holds_what_etcd_holds_in_order(batches: list[list[Change]]) -> None:
    cache = RecordCache()
    for batch in batches:
        cache.apply(batch)
    held = replay(batches)
    assert cache.under("") == [held[path] for path in sorted(held)]
    assert len(cache) == len(held)
    for prefix in ("a", "a/", "b/1", "ü", "zz"):
        assert cache.under(prefix) == [held[path] for path in sorted(held) if path.startswith(prefix)]


@given(histories(), histories())
def test_a_list_replaces_everything_and_names_exactly_what_differs(
    before: list[list[Change]], after: list[list[Change]]
) -> None:
    cache = RecordCache()
    for batch in before:
        cache.apply(batch)
    old, new = replay(before), replay(after)
    changed = cache.replace([new[path] for path in sorted(new)])
    assert changed == sorted(
        path
        for path in old.keys() | new.keys()
        if path not in old or path not in new or old[path].mod_revision != new[path].mod_revision
    )
    assert cache.under("") == [new[path] for path in sorted(new)]


@given(histories())
def test_hearing_a_batch_twice_changes_nothing(batches: list[list[Change]]) -> None:
    cache = RecordCache()
    for batch in batches:
        cache.apply(batch)
        once = cache.under("")
        assert cache.apply(batch) == []
        assert cache.under("") == once


def test_apply_names_what_changed_and_only_that() -> None:
    cache = RecordCache()
    assert cache.apply([put("b", 2), put("a", 2), Gone("absent", 2)]) == ["a", "b"]
    assert cache.apply([put("c", 3), Gone("b", 4)]) == ["b", "c"]


def test_old_news_about_a_record_do_not_undo_newer_ones() -> None:
    cache = RecordCache()
    cache.replace([put("a", 9)])
    assert cache.apply([put("a", 5), Gone("a", 6)]) == []
    assert cache.get("a") == put("a", 9)


def test_a_large_batch_keeps_the_order_too() -> None:
    cache = RecordCache()
    cache.replace([put(f"n/{n:04}", 2) for n in range(0, 1_000, 2)])
    cache.apply([put(f"n/{n:04}", 3) for n in range(1, 1_000, 2)])
    assert [record.path for record in cache.under("n/")] == [f"n/{n:04}" for n in range(1_000)]
    cache.apply([Gone(f"n/{n:04}", 4) for n in range(1_000) if n % 10])
    assert [record.path for record in cache.under("n/")] == [f"n/{n:04}" for n in range(0, 1_000, 10)]


holders = st.sampled_from([b"orders", b"shop", b""])


@st.composite
def allocations(draw: st.DrawFn) -> list[list[Change]]:
    """Batches over few paths whose value is who holds them."""
    places = st.sampled_from(["held/1", "held/2", "held/3", "else/1"])
    return [
        [
            Record(path, draw(holders), revision, revision) if draw(st.booleans()) else Gone(path, revision)
            for path in draw(st.lists(places, unique=True, max_size=3))
        ]
        for revision in range(2, draw(st.integers(2, 14)))
    ]


@given(allocations(), allocations())
def test_records_are_found_by_who_holds_them(before: list[list[Change]], after: list[list[Change]]) -> None:
    cache = RecordCache({"held/": by_value})
    for batch in before:
        cache.apply(batch)
    check(cache, replay(before))
    new = replay(after)
    later = {
        path: Record(path, one.value, one.create_revision, one.mod_revision + 100)
        for path, one in new.items()
    }
    cache.replace([later[path] for path in sorted(later)])
    check(cache, later)


def check(cache: RecordCache, held: dict[str, Record]) -> None:
    for holder in ("orders", "shop", "", "nobody"):
        mine = [
            one
            for path, one in sorted(held.items())
            if path.startswith("held/") and one.value == holder.encode()
        ]
        assert cache.held_by("held/", holder) == mine


def test_desired_records_are_found_by_the_database_of_their_instance() -> None:
    cache = RecordCache(HELD)
    mine = [Record(f"desired/{host}/orders-n1-abc234", b"", 1, 1) for host in ("host-1", "host-2")]
    others = [
        Record("desired/host-1/orders-x-n1-abc234", b"", 1, 1),
        Record("desired/host-1/odd", b"orders", 1, 1),
    ]

    cache.replace([*mine, *others])

    assert cache.held_by("desired/", "orders") == mine
    cache.apply([Gone("desired/host-1/orders-n1-abc234", 2)])
    assert cache.held_by("desired/", "orders") == mine[1:]


def test_it_counts_how_often_records_of_each_have_come_changed_or_gone() -> None:
    cache = RecordCache(whose=lambda path, value: value.decode())
    counts = []
    for changes in (
        [Record("a", b"x", 1, 1)],
        [Record("a", b"x", 1, 1)],
        [Record("a", b"y", 1, 2)],
        [Record("b", b"", 3, 3)],
        [Gone("a", 4)],
    ):
        cache.apply(changes)
        counts.append((cache.touched("x"), cache.touched("y"), cache.touched("")))
    cache.replace([Record("b", b"x", 3, 5)])

    assert counts == [(1, 0, 0), (1, 0, 0), (2, 1, 0), (2, 1, 0), (2, 2, 0)]
    assert cache.touched("x") == 3
