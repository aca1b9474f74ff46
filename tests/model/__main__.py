"""
python -m tests.model full          every scenario, each rule taken away
python -m tests.model quick         what the tests run (half a minute)
python -m tests.model rules         only: each rule taken away
python -m tests.model trace NAME    the shortest trace to a violation without that rule (F4)

With `--record` after it, what it came to is kept in docs/reliability.json.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.model.scenarios import FULL, QUICK, WITHOUT, Scenario, run
from tests.model.search import Found
from tests.record import FILE, FLAG, Entry, command, recording

LESS = {"full": [], "quick": ["the small scenarios only"], "rules": ["no scenario with all rules"]}
"""In what each is less than everything."""


def main(words: list[str], file: Path = FILE) -> int:
    """Return 0 if everything came out as it should."""
    began_s = time.monotonic()
    match [word for word in words if word != FLAG]:
        case [("full" | "quick" | "rules") as which]:
            with recording("model", command("tests.model", words), wanted=FLAG in words, file=file) as entry:
                entry.sampled += LESS[which]
                entry.passed = good = _searches(which, entry)
        case ["trace", name]:
            good = _trace(name)
        case _:
            print(__doc__)
            return 2
    print(f"\n{'as it should be' if good else 'NOT AS IT SHOULD BE'}, {time.monotonic() - began_s:.0f} s")
    return 0 if good else 1


def _searches(which: str, entry: Entry) -> bool:
    scenarios = {"full": FULL, "quick": QUICK, "rules": ()}[which]
    return (_scenarios(scenarios, entry) if scenarios else True) & _rules(entry)


def _scenarios(scenarios: Iterable[Scenario], entry: Entry) -> bool:
    print(f"\n{'scenario':58}{'states':>10}{'transitions':>13}{'seconds':>9}{'violations':>12}{'stuck':>7}")
    good, states, transitions = True, 0, 0
    for scenario in scenarios:
        found = scenario.search(progress=_progress)
        _line(f"{scenario.name:58}{_figures(found)}{1 if found.wrong else 0:>12}{found.stuck:>7}")
        _steps(found.trace)
        good &= found.complete and not found.stuck and found.ends > 0
        states, transitions = states + found.states, transitions + found.transitions
        _count(entry, scenarios=1, states=found.states, transitions=found.transitions, stuck=found.stuck)
        _count(entry, violations=bool(found.wrong), not_searched_whole=not found.complete)
    print(f"{'together':58}{states:>10}{transitions:>13}")
    return good


def _count(entry: Entry, **more: int) -> None:
    for name, number in more.items():
        entry.counts[name] = entry.counts.get(name, 0) + number


def _rules(entry: Entry) -> bool:
    print(f"\n{'rule taken away':58}{'states':>10}{'transitions':>13}{'seconds':>9}{'steps':>7}  violation")
    good = True
    for one in WITHOUT:
        found = run(one.bounds, progress=_progress)
        name = f"{one.rule.name}, {one.scenario.name}"
        noticed = one.noticed(found)
        _line(
            f"{name:58}{_figures(found)}{len(found.trace):>7}  {one.wrong if noticed else 'NOT THAT: ' + found.wrong}"
        )
        good &= noticed
        _count(entry, rules_taken_away=1, rules_noticed=noticed, states_without_rules=found.states)
    return good


def _trace(name: str) -> bool:
    bounds = [one.bounds for one in WITHOUT if one.rule.name == name]
    for one in bounds:
        found = run(one, progress=_progress)
        _line(f"{found.wrong or 'a state from which the end cannot be reached'}, {len(found.trace)} steps:")
        _steps(found.trace)
    return bool(bounds)


def _figures(found: Found) -> str:
    return f"{found.states:>10}{found.transitions:>13}{found.seconds:>9.1f}"


def _steps(trace: Iterable[str]) -> None:
    for number, step in enumerate(trace, 1):
        print(f"    {number:>2}  {step}")


def _progress(states: int, transitions: int, waiting: int, seconds: float) -> None:
    text = f"  {states} states, {transitions} transitions, {waiting} to look at, {seconds:.0f} s"
    print(
        f"\r{text:100}" if sys.stdout.isatty() else text, end="" if sys.stdout.isatty() else "\n", flush=True
    )


def _line(text: str) -> None:
    print(f"\r{text}" if sys.stdout.isatty() else text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
