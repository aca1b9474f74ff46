"""
Plant bugs, one at a time, and see whether anybody notices.

    python -m tests.mutants                    all of them
    python -m tests.mutants epoch "stale"      those with one of the words in their name or kind
    python -m tests.mutants --every-layer      ask every test that is expected to notice, not only the first
    python -m tests.mutants --list             what there is
    python -m tests.mutants --record           and keep what it came to in docs/reliability.json
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tests.mutants.index import KINDS, Finder, Mutant, chosen, load
from tests.mutants.patches import DoesNotApply
from tests.mutants.workshop import Run, Workshop, workshop
from tests.record import FLAG, Entry, command, recording

LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Verdict:
    mutant: Mutant
    found: tuple[tuple[Finder, Run], ...]
    """Who noticed."""
    missed: tuple[Finder, ...]
    """Who was asked and did not."""
    error: str
    """Why nothing can be said."""
    seconds: float

    @property
    def good(self) -> bool:
        return bool(self.found) and not self.error

    @property
    def layers(self) -> str:
        return ", ".join(dict.fromkeys(finder.layer for finder, _ in self.found))

    def __str__(self) -> str:
        if self.error:
            return f"ERROR: {self.error}"
        if not self.found:
            return "SURVIVED " + "; ".join(finder.words for finder in self.missed)
        finder, run = self.found[0]
        missed = "".join(f"; NOT by {one.words}" for one in self.missed)
        return f"{self.layers}: {run.said or finder.words}{missed}"


def examine(mutant: Mutant, bench: Workshop, *, every_layer: bool) -> Verdict:
    """Ask its finders, one after the other, until one notices."""
    began_s = time.monotonic()
    found: list[tuple[Finder, Run]] = []
    missed: list[Finder] = []
    error = ""
    for finder in mutant.finders:
        clean = bench.clean(finder)
        if clean.failed or not clean.ended:
            error = f"{finder.words} fails without the patch: {clean.said}"
            break
        try:
            with bench.with_bug(mutant):
                run = bench.run(finder)
        except DoesNotApply as exc:
            error = f"the patch does not apply: {exc}"
            break
        if not run.ended:
            error = f"{finder.words} cannot run with the patch: {run.said}"
            break
        if run.failed:
            found.append((finder, run))
        else:
            missed.append(finder)
        if found and not every_layer:
            break
    return Verdict(mutant, tuple(found), tuple(missed), error, time.monotonic() - began_s)


def verdicts(mutants: Sequence[Mutant], jobs: int, limit_s: float, *, every_layer: bool) -> Iterator[Verdict]:
    """In the order of the index, each as soon as it and those before it are there."""
    with ExitStack() as stack:
        benches = [stack.enter_context(workshop(limit_s)) for _ in range(jobs)]
        free = list(benches)
        taking = threading.Lock()

        def one(mutant: Mutant) -> Verdict:
            with taking:
                bench = free.pop()
            try:
                return examine(mutant, bench, every_layer=every_layer)
            finally:
                free.append(bench)

        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        yield from pool.map(one, mutants)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0: every bug was found; 1: some were not, or cannot be planted, or their tests fail anyway."""
    args = arguments(argv)
    everything = load()
    mutants = chosen(everything, args.names)
    if not mutants:
        print(f"no mutant is called so: {' '.join(args.names)}")
        return 1
    if args.list:
        for one in mutants:
            print(f"{one.name:44}{one.kind:20}{one.rule:10}{one.plants}")
        return 0
    # Asked to end, it takes its copy with it, once the run of the moment is over.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with recording("mutants", command("tests.mutants", argv), wanted=args.record) as entry:
        if len(mutants) < len(everything):
            entry.sampled.append(f"{len(mutants)} of {len(everything)} bugs")
        entry.passed = plant(mutants, args, entry)
    return 0 if entry.passed else 1


def plant(mutants: Sequence[Mutant], args: argparse.Namespace, entry: Entry) -> bool:
    """Whether every one was found, by everybody who was asked."""
    began_s = time.monotonic()
    seen: list[Verdict] = []
    entry.counts.update(counted(seen))
    for number, verdict in enumerate(
        verdicts(mutants, args.jobs, args.limit, every_layer=args.every_layer), start=1
    ):
        seen.append(verdict)
        entry.counts.update(counted(seen))
        head = f"[{number}/{len(mutants)}] {verdict.seconds:6.1f} s  {verdict.mutant.name}"
        print(f"{head}: {verdict}", flush=True)
    summary(seen, time.monotonic() - began_s)
    return all(one.good and not one.missed for one in seen)


def counted(seen: Sequence[Verdict]) -> dict[str, Any]:
    """What is kept of those that were planted until now. A bug counts in the layer that noticed it first."""
    found = [one for one in seen if one.good]
    return {
        "planted": len(seen),
        "found": len(found),
        "found_by_layer": dict(Counter(one.found[0][0].layer for one in found)),
        "planted_by_kind": dict(Counter(one.mutant.kind for one in seen)),
        "found_by_kind": dict(Counter(one.mutant.kind for one in found)),
        "survived": [one.mutant.name for one in seen if not one.found and not one.error],
        "not_judged": [one.mutant.name for one in seen if one.error],
    }


def summary(seen: Sequence[Verdict], took_s: float) -> None:
    print(f"\n{'planted':44}{'kind':20}{'rule':10}{'found by':20}{'seconds':>8}")
    for one in seen:
        by = one.layers if one.good else "ERROR" if one.error else "NOBODY"
        print(f"{one.mutant.name:44}{one.mutant.kind:20}{one.mutant.rule:10}{by:20}{one.seconds:>8.1f}")
    print()
    for kind in KINDS:
        some = [one for one in seen if one.mutant.kind == kind]
        if some:
            print(f"{kind:20} {sum(one.good for one in some)} of {len(some)}")
    print(f"{sum(one.good for one in seen)} of {len(seen)} found, {took_s:.0f} s")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="words in names or kinds")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many at once, each in a copy")
    parser.add_argument(
        "--limit", type=float, default=LIMIT_S, metavar="S", help="seconds that one run may take"
    )
    parser.add_argument("--every-layer", action="store_true", help="do not stop at the first who notices")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument(FLAG, action="store_true", help="keep what it came to in docs/reliability.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
