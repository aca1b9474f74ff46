"""The entries of docs/reliability.json as a table: what each run came to, when, of which commit, how to repeat it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tests.record import RUNS

Entry = Mapping[str, Any]
DAY_S = 86_400
NOT_YET = "not run yet"
WHAT: Mapping[str, str] = MappingProxyType(
    {
        "crash-all": "one fault at every effect of every scenario, and at other crossings",
        "crash-pairs": "a death at each effect, and another at each effect after it",
        "fuzz": "storms of random faults while people edit, a seed each",
        "model": "the fencing protocol in every order of events within bounds; each rule taken away",
        "mutants": "bugs planted in the code, one by one",
        "scale-virtual": "10,000 databases on three controllers: an hour, a controller's death, all edited at once",
        "chaos": "kills on the lab at random moments, while numbered rows are written",
        "bench": "times and costs on the lab, beside the same by hand",
    }
)


def table(entries: Mapping[str, Entry]) -> str:
    """Raises: ValueError for an entry that is no run's."""
    if strangers := set(entries) - set(RUNS):
        raise ValueError(f"no run is called {', '.join(sorted(strangers))}")
    rows = ["| run | what is done | what it came to | of | repeat |", "|---|---|---|---|---|"]
    for run in RUNS:
        cells = _cells(run, entries[run]) if run in entries else f"{NOT_YET} | - | `make {run}`"
        rows.append(f"| {run} | {WHAT[run]} | {cells} |")
    return "\n".join(rows)


def _cells(run: str, entry: Entry) -> str:
    return f"{verdict(entry)}{RESULTS[run](entry['counts'])} | {_circumstances(entry)} | `{entry['command']}`"


def verdict(entry: Entry) -> str:
    """What a reader must know first; nothing when everything was done and passed."""
    words = []
    if not entry["passed"] and not entry["cut_short"]:
        words.append("**failed**")
    if entry["cut_short"]:
        words.append("**cut short**" if entry["passed"] else "**cut short, or ended by a failure**")
    if entry["sampled"]:
        words.append(f"**a sample: {', '.join(entry['sampled'])}**")
    return "; ".join(words) + ". " if words else ""


def _circumstances(entry: Entry) -> str:
    commit = f"`{entry['commit'][:9]}`" if entry["commit"] else "an unknown commit"
    changed = ", with changes that it does not have" if entry["changed"] else ""
    return f"{commit}{changed}, {entry['date']}, {entry['cores']} cores, {entry['seconds']:.0f} s"


def _crashes(counts: Entry) -> str:
    said = f"{counts['passed']:,} of {counts['runs']:,} runs ended as without a fault: "
    if counts["scenarios"] < counts["scenarios_of"]:
        said += f"{counts['scenarios']} of {counts['scenarios_of']} scenarios, "
    else:
        said += f"{counts['scenarios']} scenario{'s' if counts['scenarios'] != 1 else ''}, "
    said += f"{counts['effects']:,} effects, {counts['crossings']:,} crossings"
    return said + (f"; failed: {', '.join(counts['failed_in'])}" if counts["failed_in"] else "")


def _fuzz(counts: Entry) -> str:
    if "passed" not in counts:
        return f"Of {counts['of']:,} seeds, from {counts['first']} on, none was counted"
    days = counts["simulated_seconds"] / DAY_S
    seeds = ", ".join(str(one) for one in counts["failed_seeds"])
    return (
        f"{counts['passed']:,} of {counts['begun']:,} seeds, from {counts['first']} on, came to what was wanted; "
        f"{days:,.1f} simulated days, {counts['effects']:,} effects"
    ) + (f"; {counts['failed']} failed, such as {seeds}" if seeds else "")


def _model(counts: Entry) -> str:
    searched = ""
    if "scenarios" in counts:
        searched = (
            f"{counts['states']:,} states, {counts['transitions']:,} transitions in {counts['scenarios']} scenarios: "
            f"{counts['violations']} violations, {counts['stuck']} states that are stuck"
        )
        if counts["not_searched_whole"]:
            searched += f", {counts['not_searched_whole']} scenarios not searched to their end"
    rules = ""
    if "rules_taken_away" in counts:
        rules = f"{counts['rules_noticed']} of {counts['rules_taken_away']} searches without a rule find what it is for"
    return "; ".join(one for one in (searched, rules) if one) or "nothing was searched"


def _mutants(counts: Entry) -> str:
    layers = ", ".join(f"{layer} {number}" for layer, number in sorted(counts["found_by_layer"].items()))
    kinds = ", ".join(
        f"{kind} {counts['found_by_kind'].get(kind, 0)} of {number}"
        for kind, number in sorted(counts["planted_by_kind"].items())
    )
    said = f"{counts['found']} of {counts['planted']} found ({kinds})"
    said += f"; first noticed by: {layers}" if layers else ""
    for name, words in (("survived", "survived"), ("not_judged", "not judged")):
        said += f"; {words}: {', '.join(counts[name])}" if counts[name] else ""
    return said


def _chaos(counts: Entry) -> str:
    said = f"{counts['rounds']} of {counts['rounds_of']} rounds, seed {counts['seed']}"
    if "p50_s" in counts:
        killed = ", ".join(f"{target} {number}" for target, number in sorted(counts["killed"].items()))
        said += (
            f": as specified again after p50 {counts['p50_s']} s, p95 {counts['p95_s']} s, "
            f"worst {counts['worst_s']} s; "
            f"{counts['rows_acknowledged']:,} rows acknowledged, {counts['rows_lost']} lost; killed: {killed}"
        )
    return said


def _scale(counts: Entry) -> str:
    figures = "; ".join(
        f"{one['what']}: {one['ours']} (goal {one['goal']}, {one['verdict']})" for one in counts["figures"]
    )
    return f"{counts['databases']:,} databases: {figures or 'nothing was measured'}"


def _bench(counts: Entry) -> str:
    figures = "; ".join(
        f"{one['what']}: {one['ours']} (by comparison {one['reference']}, goal {one['goal']}, {one['verdict']})"
        for one in counts.get("figures", ())
    )
    return figures or "nothing was measured"


RESULTS: Mapping[str, Callable[[Entry], str]] = MappingProxyType(
    {
        "crash-all": _crashes,
        "crash-pairs": _crashes,
        "fuzz": _fuzz,
        "model": _model,
        "mutants": _mutants,
        "scale-virtual": _scale,
        "chaos": _chaos,
        "bench": _bench,
    }
)
