"""
What docs/reliability.md says in numbers, from docs/reliability.json and from the code that injects, forbids and counts.

The words around it are written by hand, as on the other pages that `tests/reference.py` makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from clustertest import chaos as lab
from tests.model.rules import Rule
from tests.model.scenarios import WITHOUT
from tests.mutants.index import Mutant, load
from tests.promises import Suite, suites
from tests.record import load as entries
from tests.results import table
from tests.sim import fuzz
from tests.sim.__main__ import CORE, EVERY
from tests.sim.chaos import CALLS, CHOSEN, WORLD
from tests.sim.crashes import Plans, at_awaits, at_effects, deaths, standstills, together
from tests.sim.oracles import ORACLES
from tests.sim.scenarios import SCENARIOS
from tests.sim.world import Crossing

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "dies": "the process is killed, and its host has one again after a while",
        "cancelled": "everything in the process is cancelled at once",
        "fails": "the call fails; where that comes after its effect, an answer was lost",
        "stands": "none of the process's calls arrives for a while, and then all do",
        "stops": "nothing of the process runs for a while (SIGSTOP); what it had sent arrives",
        "hangs": "the call has no answer until a deadline",
        "etcd is away": "no call to etcd succeeds and every watch breaks, for 1 to 30 s",
        "etcd has a new leader": "every lease gets its full time again",
        "history is compacted": "etcd forgets all earlier revisions",
        "watches break": "every watch of etcd ends with an error",
        "watches fall silent": "watches go on without events and without an error",
        "docker's events break": "no events from Docker for up to 20 s",
        "a host's docker is silent": "pgswarm's calls to it have no answer, for 10 to 60 s; its containers go on",
        "a host loses its power": "with its containers and its pgswarm, for 5 to 60 s, one host at a time",
        "a container is killed": "by SIGKILL, one that runs",
        "the Swarm's list is old": "a list shows what the same process was shown the last time",
    }
)


def page() -> str:
    parts = (
        "## Figures",
        table(entries()),
        "## Faults in the simulated world",
        _worlds(),
        faults(),
        "## What must never be seen there",
        "\n".join(_rows(("oracle", "violated when"), ORACLES.items())),
        "## The rules of the fencing protocol, and who notices when one is missing",
        rules(load()),
        "## Contract suites: the fakes and what they stand for",
        contract(suites()),
        "## Faults on the lab",
        _lab(),
    )
    return "\n\n".join(parts)


def _worlds() -> str:
    low_s, high_s = fuzz.STORM_S
    return _prose(
        f"""
        `make crash-all` plays {len(SCENARIOS)} scenarios, `make crash-pairs` {len(CORE)} of them. A crossing is a
        call that leaves a process, on its way out or on its way back; an effect is a call that may change something,
        and faults at an effect come at both its crossings. After each fault the end must be the same as without:
        objects, records, accounts, volumes, what was made and removed and how often, and one initialisation.
        `make fuzz` plays storms of {low_s:g} to {high_s:g} s on one database. Each kind of fault is in one with a
        chance of {CHOSEN:.0%}, each at a random rate up to the one below, while people edit
        ({", ".join(fuzz.PEOPLE)}; drift: {", ".join(fuzz.BY_HAND)} by
        hand). Within {fuzz.CONVERGE_S:g} s after the last fault the world must be as the last spec says, then
        {fuzz.QUIET_S:g} s without an effect must follow.
        """
    )


def faults() -> str:
    """Raises: KeyError for a fault that has no words."""
    singly = _when(together(at_effects, standstills), "each effect")
    others = _when(at_awaits(1), f"each {EVERY}th crossing", effect=None)
    pairs = _when(deaths, "each effect")
    rows = []
    for kind in (*CALLS, *WORLD):
        alone = "; ".join(said for one in (singly, others) if (said := one.get(kind.name)))
        most = f"{kind.rate:.1%} of crossings" if kind in CALLS else f"{kind.rate:g} a second"
        rows.append((kind.name, FAULTS[kind.name], alone or "-", pairs.get(kind.name, "-"), f"up to {most}"))
    return "\n".join(_rows(("fault", "what happens", "crash-all", "crash-pairs", "fuzz"), rows))


def _when(plans: Plans, where: str, effect: int | None = 0) -> dict[str, str]:
    """By kind of fault: where it is injected, and how long it lasts."""
    times: dict[str, list[float]] = {}
    for _, fault in plans(Crossing(0, "", "", "before", effect)):
        times.setdefault(fault.kind, []).append(fault.back_s)
    return {
        kind: where + (f"; {' and '.join(f'{one:g}' for one in found)} s" if any(found) else "")
        for kind, found in times.items()
    }


def rules(mutants: Iterable[Mutant]) -> str:
    planted: dict[str, list[str]] = {}
    for one in mutants:
        if one.kind == "guard":
            planted.setdefault(one.rule, []).append(f"{one.name.partition('-')[0]} ({one.finders[0].layer})")
    rows = []
    for rule in Rule:
        wrong = dict.fromkeys(one.wrong for one in WITHOUT if one.rule is rule)
        rows.append((rule.name, rule.value, "; ".join(wrong), ", ".join(planted.get(rule.name, ())) or "-"))
    head = (
        "rule",
        "what it is",
        "a search without it must find",
        "bug that takes it away, and where it must be noticed",
    )
    return "\n".join(_rows(head, rows))


def contract(found: Iterable[Suite]) -> str:
    found = list(found)
    rows = [
        (
            one.side,
            f"{one.both} tests, {one.both_assertions} assertions",
            f"{one.alone}, {one.alone_assertions}",
        )
        for one in found
    ]
    tests, asserted = sum(one.both for one in found), sum(one.both_assertions for one in found)
    words = _prose(
        f"""
        {tests} tests with {asserted} assertions run on a fake and on what it stands for. Counted in the text: a test
        counts once, whatever the number of values that it is played with; what helpers assert does not count.
        """
    )
    return words + "\n\n" + "\n".join(_rows(("other side", "on both", "not on a fake"), rows))


def _lab() -> str:
    low_s, high_s = lab.DOWN_S
    return _prose(
        f"""
        `make chaos`: {lab.ROUNDS} rounds. In each a database is created, edited, scaled, deleted or left alone; up to
        {lab.BEFORE_S[1]:g} s later one of {", ".join(lab.TARGETS)} on a random host is killed (SIGKILL; host: its
        power) and is back after {low_s:g} to {high_s:g} s. Meanwhile a client writes numbered rows to a second
        database with `synchronous: strict`. After each round everything must be as specified within
        {lab.CONVERGE_S:g} s, and every acknowledged row must be there; at the end, on each of its three copies.
        """
    )


def _prose(text: str) -> str:
    return " ".join(text.split())


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(one)} |" for one in rows)]
