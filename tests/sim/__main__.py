"""
Crash pgswarm everywhere, in virtual time.

    python -m tests.sim crash-all [--only WORD] [--every N] [--effects M]
                                                              one fault at each Mth effect, and at each Nth call
    python -m tests.sim crash-pairs [--only WORD]             a second one at each effect after the first
    python -m tests.sim fuzz [--seeds N] [--first M]          many at once, at random, while people edit at random

With `--record`, what it came to is kept in docs/reliability.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.record import FILE, FLAG, Entry, command, recording
from tests.sim.crashes import (
    Plans,
    Verdict,
    at_awaits,
    at_effects,
    deaths,
    each,
    explore,
    standstills,
    together,
)
from tests.sim.fuzz import Tally, fuzz, report
from tests.sim.scenarios import SCENARIOS

CORE = (
    "create one",
    "create three",
    "add a replica",
    "remove a replica",
    "remove the primary's host",
    "change memory",
    "change a parameter that asks for a restart",
    "add a role",
    "delete one for good",
    "delete and retain",
    "adopt what was retained",
    "a replica's service is removed",
)
SHOWN = 3
KEPT = 20
TOLD_S = 5.0
EVERY = 7
"""A prime: calls come in rounds, and each kind of them shall have its turn."""
SEEDS = 20_000
"""What `make fuzz` takes when it is not told how many; fewer are a sample."""


def main(argv: Sequence[str] | None = None, file: Path = FILE) -> int:
    """Exit 0: every run ended as it must; 1: some did not."""
    args = arguments(argv)
    with recording(args.what, command("tests.sim", argv), wanted=args.record, file=file) as entry:
        entry.passed = storms(args, entry) if args.what == "fuzz" else crashes(args, entry)
    return 0 if entry.passed else 1


def storms(args: argparse.Namespace, entry: Entry) -> bool:
    """Whether all of them ended as they must."""
    began_s = told_s = time.monotonic()
    if args.seeds < SEEDS:
        entry.sampled.append(f"{args.seeds} of {SEEDS} seeds")
    # No more until it is over: a Ctrl-C ends every run that is forked after it, which says nothing of its seed.
    entry.counts.update(first=args.first, of=args.seeds)

    def progress(done: int, failed: list[str]) -> None:
        nonlocal told_s
        if time.monotonic() - told_s > TOLD_S:
            told_s = time.monotonic()
            print(
                f"{told_s - began_s:6.1f} s  {done} of {args.seeds} seeds, failed: {failed or 'none'}",
                flush=True,
            )

    tally = fuzz(range(args.first, args.first + args.seeds), progress=progress)
    failed = sorted(tally.failed.items())
    for seed, wrong in failed[: SHOWN * 3]:
        print(f"seed {seed}\n    " + wrong.replace("\n", "\n    "))
    for seed, _ in failed:
        print(f"again: python -m tests.sim fuzz --first {seed} --seeds 1")
    print(report(tally, began_s))
    entry.counts.update(lives(tally, args))
    return not tally.failed


def lives(tally: Tally, args: argparse.Namespace) -> dict[str, Any]:
    """What is kept of it."""
    return {
        "first": args.first,
        "of": args.seeds,
        "begun": len(tally.lived) + len(tally.failed),
        "passed": len(tally.lived),
        "failed": len(tally.failed),
        "failed_seeds": sorted(tally.failed)[:KEPT],
        "simulated_seconds": round(sum(one.virtual_s for one in tally.lived)),
        "effects": sum(one.effects for one in tally.lived),
    }


def crashes(args: argparse.Namespace, entry: Entry) -> bool:
    """Whether all of them ended as they must."""
    names = CORE if args.what == "crash-pairs" else tuple(SCENARIOS)
    all_of_them = len(names)
    names = tuple(name for name in names if args.only in name)
    entry.sampled += sampled(args, len(names), all_of_them)
    began_s = time.monotonic()
    verdicts: list[Verdict] = []
    entry.counts.update(counted(verdicts, len(names)))
    for number, name in enumerate(names, start=1):
        verdict = explore(SCENARIOS[name], plans(args), double=args.what == "crash-pairs")
        verdicts.append(verdict)
        entry.counts.update(counted(verdicts, len(names)))
        print(line(verdict, number, len(names), time.monotonic() - began_s), flush=True)
        for label, wrong in list(verdict.failed.items())[:SHOWN]:
            print(f"    {label}\n        " + wrong.replace("\n", "\n        "), flush=True)
    runs = sum(one.runs for one in verdicts)
    failed = sum(len(one.failed) for one in verdicts)
    took_s = time.monotonic() - began_s
    print(
        f"{runs - failed} of {runs} runs ended as without a fault: {len(verdicts)} scenarios, {took_s:.0f} s, ",
        end="",
    )
    print(f"{runs / max(took_s, 0.001):.1f} runs/s on {os.cpu_count()} cores")
    return bool(verdicts) and not failed


def counted(verdicts: Sequence[Verdict], scenarios: int) -> dict[str, Any]:
    """What is kept of the scenarios that were played until now."""
    runs, failed = sum(one.runs for one in verdicts), sum(len(one.failed) for one in verdicts)
    return {
        "scenarios": len(verdicts),
        "scenarios_of": scenarios,
        "effects": sum(one.effects for one in verdicts),
        "crossings": sum(one.crossings for one in verdicts),
        "runs": runs,
        "passed": runs - failed,
        "failed_in": [one.scenario for one in verdicts if one.failed],
    }


def sampled(args: argparse.Namespace, chosen: int, scenarios: int) -> list[str]:
    """In what the arguments leave something out, in words."""
    words = [f"{chosen} of {scenarios} scenarios"] if chosen < scenarios else []
    if args.what == "crash-pairs":
        return words
    if args.effects != 1:
        words.append(f"1 of {args.effects} effects")
    if args.every != 1:
        words.append(f"1 of {args.every} crossings" if args.every else "effects only")
    return words


def plans(args: argparse.Namespace) -> Plans:
    if args.what == "crash-pairs":
        return deaths
    effects = each(args.effects, 0, together(at_effects, standstills))
    return together(effects, at_awaits(args.every)) if args.every else effects


def line(verdict: Verdict, number: int, count: int, elapsed_s: float) -> str:
    good = verdict.runs - len(verdict.failed)
    what = f"{verdict.effects} effects, {verdict.crossings} calls"
    return f"[{number}/{count}] {elapsed_s:6.1f} s  {verdict.scenario}: {what}: {good} of {verdict.runs}"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("what", choices=["crash-all", "crash-pairs", "fuzz"])
    parser.add_argument("--only", default="", metavar="WORD", help="scenarios whose name has it")
    parser.add_argument(
        "--every", type=int, default=EVERY, metavar="N", help="each Nth call; 0: effects only"
    )
    parser.add_argument("--effects", type=int, default=1, metavar="M", help="each Mth effect")
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many")
    parser.add_argument("--first", type=int, default=0, metavar="M", help="the first of them")
    parser.add_argument(FLAG, action="store_true", help="keep what it came to in docs/reliability.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
