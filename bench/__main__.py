"""
Measure pgswarm on a lab of three hosts and print every figure beside what it is compared with.

Makes a lab of its own and removes it; with PGSWARM_LAB=attach it uses the one that is up and leaves it up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import idle, quiet, ready, repair, takeover
from bench.figures import Failed, Figure, document, kept, table
from bench.stage import Stage
from clustertest.lab import Lab
from clustertest.lab.errors import LabError
from tests.record import FLAG, command, recording

COUNTED = ("rounds", "removals", "kills", "databases")
OUT = Path(__file__).parent / "out"
NAMES = ("ready", "repair", "quiet", "takeover", "idle")
"""In this order: the first makes the database that the others use, the last takes it away."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0: everything was measured, whether goals were met or not; 1: something could not be measured."""
    args = arguments(argv)
    began_s = time.monotonic()

    def say(text: str) -> None:
        print(f"bench {time.monotonic() - began_s:6.1f}s  {text}", file=sys.stderr, flush=True)

    wanted = args.only or list(NAMES)
    line = command("bench", argv, without=("--out",))
    with a_lab() as lab, recording("bench", line, wanted=args.record) as entry:
        entry.sampled += smaller(args)
        stage = Stage(lab, say)
        circumstances = {**stage.circumstances(), "rounds": args.rounds, "removals": args.removals}
        measurements: dict[str, Callable[[], Figure | list[Figure]]] = {
            "ready": lambda: ready.measure(stage, args.rounds),
            "repair": lambda: repair.measure(stage, args.removals),
            "quiet": lambda: quiet.measure(stage),
            "takeover": lambda: takeover.measure(stage, args.kills),
            "idle": lambda: idle.measure(stage, args.databases),
        }
        results: list[Figure | Failed] = []
        for name in NAMES:
            if name in wanted:
                say(name)
                results += attempt(name, measurements[name])
                entry.counts.update(kept(results))
        stage.mend()
        entry.passed = not any(isinstance(one, Failed) for one in results)
    text = document(results, circumstances)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
    print(text if args.json else heading(circumstances) + "\n\n" + table(results))
    missed = [one.what for one in results if isinstance(one, Figure) and not one.met]
    failed = [one.what for one in results if isinstance(one, Failed)]
    say(
        f"{len(results) - len(missed) - len(failed)} met, {len(missed)} missed, {len(failed)} not measured; {args.out}"
    )
    return 1 if failed else 0


def smaller(args: argparse.Namespace) -> list[str]:
    """In what the arguments ask for less than all of it, in words."""
    usual = arguments([])
    words = [f"only {', '.join(one for one in NAMES if one in args.only)}"] if args.only else []
    numbers = {name: (getattr(args, name), getattr(usual, name)) for name in COUNTED}
    return words + [f"{asked} of {whole} {name}" for name, (asked, whole) in numbers.items() if asked < whole]


def attempt(name: str, measurement: Callable[[], Figure | list[Figure]]) -> list[Figure | Failed]:
    """One measurement that cannot be made must not cost the others."""
    try:
        found = measurement()
    except (AssertionError, TimeoutError, LabError, OSError, subprocess.SubprocessError) as error:
        return [Failed(name, f"{type(error).__name__}: {error}")]
    return list(found) if isinstance(found, list) else [found]


@contextmanager
def a_lab() -> Iterator[Lab]:
    if os.environ.get("PGSWARM_LAB") == "attach":
        yield Lab.attach()
        return
    with Lab.up(hosts=3) as lab:
        yield lab


def heading(circumstances: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in circumstances.items() if value not in ("", []))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", action="append", choices=NAMES, help="may be repeated; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="creations on each side")
    parser.add_argument("--removals", type=int, default=24, help="services removed")
    parser.add_argument("--kills", type=int, default=5, help="owners ended by each signal")
    parser.add_argument("--databases", type=int, default=idle.WANTED, help="databases of the idle process")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(FLAG, action="store_true", help="keep what it came to in docs/reliability.json")
    parser.add_argument("--out", type=Path, default=OUT / "figures.json", help="where the JSON goes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
