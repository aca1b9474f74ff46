"""Records in path order, in memory. Pure: no etcd, no clock, no await."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence

from controlplane.stores.feed import Change, Gone
from reconcilers.held import Holder
from reconcilers.ports import Record

_RESORT_FROM = 64
"""From this many new or gone paths on, one sort is cheaper than that many insertions."""
_LAST = "\U0010ffff"


class RecordCache:
    """
    A prefix costs O(log n) to find, a change O(log n) plus moving a list of pointers.

    Args:
        held: Prefixes of records that somebody holds, and who; these are also found by their holder.
        whose: Whom a record concerns, by path and value; what concerns "" is not counted.
    """

    def __init__(
        self,
        held: Mapping[str, Holder] | None = None,
        whose: Callable[[str, bytes], str] = lambda path, value: "",
    ) -> None:
        self._records: dict[str, Record] = {}
        self._paths: list[str] = []
        self._holder_of = dict(held or {})
        self._holders: dict[str, dict[bytes, set[str]]] = {prefix: {} for prefix in self._holder_of}
        self._whose = whose
        self._touched: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, path: str) -> Record | None:
        return self._records.get(path)

    def under(self, prefix: str) -> list[Record]:
        first = bisect_left(self._paths, prefix)
        last = bisect_left(self._paths, prefix + _LAST, lo=first)
        return [self._records[path] for path in self._paths[first:last]]

    def held_by(self, prefix: str, holder: str) -> list[Record]:
        """Raises: KeyError when `prefix` is none of `held`."""
        return [self._records[path] for path in sorted(self._holders[prefix].get(holder.encode(), ()))]

    def touched(self, whose: str) -> int:
        """How often a record that concerns them has come, changed or gone."""
        return self._touched.get(whose, 0)

    def replace(self, records: Sequence[Record]) -> list[str]:
        """Hold exactly `records`; return the paths that are new, gone or changed, in order."""
        fresh = {record.path: record for record in records}
        changed = [path for path in self._records if path not in fresh]
        changed += [path for path, record in fresh.items() if not _same(record, self._records.get(path))]
        for path in changed:
            self._hold(path, self._records.get(path), fresh.get(path))
        self._records, self._paths = fresh, sorted(fresh)
        return sorted(changed)

    def apply(self, changes: Iterable[Change]) -> list[str]:
        """Take in changes in etcd's order; return the paths that differ now, in order. Old news change nothing."""
        before: dict[str, bool] = {}
        touched: set[str] = set()
        for change in changes:
            held = self._records.get(change.path)
            if held is not None and held.mod_revision >= _revision(change):
                continue
            before.setdefault(change.path, held is not None)
            if isinstance(change, Gone):
                if self._records.pop(change.path, None) is None:
                    continue
                self._hold(change.path, held, None)
            else:
                self._records[change.path] = change
                self._hold(change.path, held, change)
            touched.add(change.path)
        self._repair_order(before)
        return sorted(touched)

    def _hold(self, path: str, before: Record | None, after: Record | None) -> None:
        for whose in {self._whose(path, one.value) for one in (before, after) if one is not None} - {""}:
            self._touched[whose] = self._touched.get(whose, 0) + 1
        for prefix, holder_of in self._holder_of.items():
            if not path.startswith(prefix):
                continue
            holders = self._holders[prefix]
            if before is not None:
                holder = holder_of(path, before.value)
                mine = holders[holder]
                mine.discard(path)
                if not mine:
                    del holders[holder]
            if after is not None:
                holders.setdefault(holder_of(path, after.value), set()).add(path)

    def _repair_order(self, before: dict[str, bool]) -> None:
        new = [path for path, was in before.items() if not was and path in self._records]
        gone = [path for path, was in before.items() if was and path not in self._records]
        if len(new) + len(gone) >= _RESORT_FROM:
            self._paths = sorted(self._records)
            return
        for path in gone:
            del self._paths[bisect_left(self._paths, path)]
        for path in new:
            insort(self._paths, path)


def _revision(change: Change) -> int:
    return change.revision if isinstance(change, Gone) else change.mod_revision


def _same(record: Record, other: Record | None) -> bool:
    return other is not None and record.mod_revision == other.mod_revision
