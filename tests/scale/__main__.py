"""
Thousands of databases on three controllers, in virtual time: what they may rely on, in figures.

    python -m tests.scale [--databases N] [--no-hour]

A steady hour, a controller that dies and comes back, and every spec edited at the same moment: while all is well,
while one of the specs is spoilt, and while one host does not answer. With `--record`, what it came to is kept in
docs/reliability.json.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Figure, kept, percentile, shown, table
from tests.record import FILE, FLAG, command, recording
from tests.scale.promises import (
    DEAF,
    DELAY_MAX_S,
    GRACE_S,
    NONE,
    POISON,
    TTL_S,
    UNFAIR_MAX,
    death,
    edits,
    rebirth,
    steady_hour,
    unfairness,
)
from tests.scale.virtual import Fleet, fleet
from tests.sim.loop import run

DATABASES = 10_000
RUN = "scale-virtual"
TOLD_S = 5.0
LIMIT_S = 86_400.0


@dataclass(slots=True)
class Teller:
    """Says how far it is, now and then, and what each part has cost in real time."""

    began_s: float = field(default_factory=time.monotonic)
    told_s: float = 0.0
    part_s: float = field(default_factory=time.monotonic)

    def progress(self, text: str) -> None:
        if time.monotonic() - self.told_s >= TOLD_S:
            self.say(text)

    def say(self, text: str) -> None:
        self.told_s = time.monotonic()
        print(f"scale {self.told_s - self.began_s:7.1f} s  {text}", file=sys.stderr, flush=True)

    def done(self, part: str) -> None:
        self.say(f"{part}: done in {time.monotonic() - self.part_s:.1f} s of real time")
        self.part_s = time.monotonic()


def main(argv: Sequence[str] | None = None, file: Path = FILE) -> int:
    """Exit 0: every promise was kept; 1: one was broken."""
    args = arguments(argv)
    with recording(RUN, command("tests.scale", argv), wanted=args.record, file=file) as entry:
        entry.sampled += sampled(args)
        figures: list[Figure] = []
        entry.counts.update(counted(args.databases, figures))
        run(played(args.databases, figures, hour=not args.no_hour), limit_s=LIMIT_S)
        entry.counts.update(counted(args.databases, figures))
        entry.passed = all(one.met for one in figures)
    print(table(figures))
    return 0 if entry.passed else 1


async def played(databases: int, figures: list[Figure], *, hour: bool) -> None:
    """Adds to `figures` what each part comes to, as soon as it is over."""
    teller = Teller()
    gc.freeze()
    async with fleet(databases, teller.progress) as one:
        teller.done(f"{databases} databases are made, owned and reported")
        if hour:
            figures.append(calm(await steady_hour(one)))
            teller.done("steady hour")
        figures.append(owned_again(await death(one)))
        teller.done("a controller has died")
        await rebirth(one)
        teller.done("it is back")
        figures.extend(await all_edited(one, teller))


async def all_edited(one: Fleet, teller: Teller) -> list[Figure]:
    alone = await edits(one, NONE)
    teller.done("all edited at once")
    found = [fair(alone, NONE)]
    for trouble in (POISON, DEAF):
        beside = await edits(one, trouble)
        teller.done(f"all edited at once, and {trouble}")
        found += [fair(beside, trouble), undelayed(beside, alone, trouble)]
    return found


# --- one figure each ---


def calm(writes: int) -> Figure:
    return Figure("records written, and calls that change something, in a steady hour", writes, "", 0)


def owned_again(took_s: list[float]) -> Figure:
    return Figure(
        f"a controller dies -> each of its {len(took_s)} databases is owned again, p99",
        percentile(took_s, 99),
        "s",
        TTL_S + GRACE_S,
        notes=(spread(took_s),),
    )


def fair(took_s: list[float], trouble: str) -> Figure:
    beside = "" if trouble == NONE else f" beside {trouble}"
    return Figure(
        f"{len(took_s)} edited at once{beside}: longest wait, in medians",
        unfairness(took_s),
        "",
        UNFAIR_MAX,
        notes=(spread(took_s),),
    )


def undelayed(beside_s: list[float], alone_s: list[float], trouble: str) -> Figure:
    return Figure(
        f"how much longer others wait at p99 beside {trouble}",
        percentile(beside_s, 99) - percentile(alone_s, 99),
        "s",
        DELAY_MAX_S,
    )


def spread(took_s: list[float]) -> str:
    words = (f"p{percent} {shown(percentile(took_s, percent), 's')}" for percent in (50, 99))
    return f"{', '.join(words)}, worst {shown(max(took_s), 's')}, in virtual time"


# --- the line of command ---


def counted(databases: int, figures: Sequence[Figure]) -> dict[str, Any]:
    """What is kept of it."""
    return {"databases": databases, **kept(figures)}


def sampled(args: argparse.Namespace) -> list[str]:
    """In what the arguments leave something out, in words."""
    fewer = [f"{args.databases:,} of {DATABASES:,} databases"] if args.databases < DATABASES else []
    return fewer + (["no steady hour"] if args.no_hour else [])


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.scale", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--databases", type=int, default=DATABASES, metavar="N")
    parser.add_argument("--no-hour", action="store_true", help="without the steady hour")
    parser.add_argument(FLAG, action="store_true", help="keep what it came to in docs/reliability.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
