"""
Crash pgswarm everywhere, in virtual time.

    python -m tests.sim crash-all [--only WORD] [--every N] [--effects M]
                                                              one fault at each Mth effect, and at each Nth call
    python -m tests.sim crash-pairs [--only WORD]             a second one at each effect after the first
    python -m tests.sim fuzz [--seeds N] [--first M]          many at once, at random, while people edit at random
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

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
from tests.sim.fuzz import fuzz, report
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
TOLD_S = 5.0
EVERY = 7
"""A prime: calls come in rounds, and each kind of them shall have its turn."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0: every run ended as it must; 1: some did not."""
    args = arguments(argv)
    return storms(args) if args.what == "fuzz" else crashes(args)


def storms(args: argparse.Namespace) -> int:
    began_s = told_s = time.monotonic()

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
    return 1 if tally.failed else 0


def crashes(args: argparse.Namespace) -> int:
    names = CORE if args.what == "crash-pairs" else tuple(SCENARIOS)
    names = tuple(name for name in names if args.only in name)
    began_s = time.monotonic()
    verdicts = []
    for number, name in enumerate(names, start=1):
        verdict = explore(SCENARIOS[name], plans(args), double=args.what == "crash-pairs")
        verdicts.append(verdict)
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
    return 1 if failed else 0


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
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
