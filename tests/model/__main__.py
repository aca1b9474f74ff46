"""
python -m tests.model full          every scenario, each rule taken away
python -m tests.model quick         what the tests run (half a minute)
python -m tests.model rules         only: each rule taken away
python -m tests.model trace NAME    the shortest trace to a violation without that rule (F4)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from tests.model.scenarios import FULL, QUICK, WITHOUT, Scenario, run
from tests.model.search import Found


def main(words: list[str]) -> int:
    """Return 0 if everything came out as it should."""
    began_s = time.monotonic()
    match words:
        case ["full"]:
            good = _scenarios(FULL) & _rules()
        case ["quick"]:
            good = _scenarios(QUICK) & _rules()
        case ["rules"]:
            good = _rules()
        case ["trace", name]:
            good = _trace(name)
        case _:
            print(__doc__)
            return 2
    print(f"\n{'as it should be' if good else 'NOT AS IT SHOULD BE'}, {time.monotonic() - began_s:.0f} s")
    return 0 if good else 1


def _scenarios(scenarios: Iterable[Scenario]) -> bool:
    print(f"\n{'scenario':58}{'states':>10}{'transitions':>13}{'seconds':>9}{'violations':>12}{'stuck':>7}")
    good, states, transitions = True, 0, 0
    for scenario in scenarios:
        found = scenario.search(progress=_progress)
        _line(f"{scenario.name:58}{_figures(found)}{1 if found.wrong else 0:>12}{found.stuck:>7}")
        _steps(found.trace)
        good &= found.complete and not found.stuck and found.ends > 0
        states, transitions = states + found.states, transitions + found.transitions
    print(f"{'together':58}{states:>10}{transitions:>13}")
    return good


def _rules() -> bool:
    print(f"\n{'rule taken away':58}{'states':>10}{'transitions':>13}{'seconds':>9}{'steps':>7}  violation")
    good = True
    for one in WITHOUT:
        found = run(one.bounds, progress=_progress)
        name = f"{one.rule.name}, {one.scenario.name}"
        _line(f"{name:58}{_figures(found)}{len(found.trace):>7}  {found.wrong or 'NONE'}")
        good &= found.wrong == one.wrong
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
