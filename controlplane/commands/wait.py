"""pgswarm wait"""

from __future__ import annotations

import difflib
import re
import sys
from typing import Any

import click

from controlplane import render
from controlplane.api.schemas import DatabaseView
from controlplane.commands.options import api_option, client_settings, database_argument, read, world
from controlplane.commands.outcome import NOT_READY, UNREACHABLE, Failure, not_found, translated
from controlplane.commands.patience import Progress
from controlplane.commands.session import Source, World
from controlplane.layout import human_age
from controlplane.setting_types import parse_duration
from reconcilers.errors import Unavailable

PAUSE_S = 0.3
"""Seconds between two looks."""

_GOAL = re.compile(r"\Acondition=([A-Za-z]+)(?:=(True|False|Unknown))?\Z")
DELETED = "delete"


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError as exc:
            self.fail(f"{value!r} is {exc}, e.g. 90s", param, ctx)


@click.command()
@database_argument
@click.option(
    "--for",
    "goal",
    default="condition=Ready",
    show_default=True,
    metavar="GOAL",
    help="condition=TYPE, condition=TYPE=False, or delete.",
)
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="Give up after this time.")
@api_option
@client_settings
@click.pass_context
def command(
    context: click.Context, /, name: str, goal: str, timeout: float, api: str | None, **given: Any
) -> None:
    """Wait until a database is as asked.

    A condition counts only when it was judged from the spec that is in etcd now. While it waits, a line on stderr
    says for what. Exits 1 at once when the spec is invalid, for then waiting does not help.

    \b
    pgswarm wait orders --for condition=Ready --timeout 5m
    """
    _check(goal)
    config, outside = read(given), world(context)

    async def work() -> None:
        async with outside.source(config, api) as source:
            await _wait(source, outside, name, goal, timeout)

    with translated(() if api else config.etcd_endpoints):
        outside.run(work())
    click.echo(
        f"database/{name} {'is gone' if goal == DELETED else goal.removeprefix('condition=') + ' met'}"
    )


def _check(goal: str) -> None:
    """Raises: UsageError for what would be waited for in vain."""
    match = _GOAL.match(goal)
    if goal == DELETED:
        return
    if match is None:
        raise click.UsageError(f"--for {goal!a} is not condition=TYPE, condition=TYPE=False or delete")
    known = sorted(render.TOLD_ALWAYS | render.TOLD_WHEN_TRUE)
    if match[1] not in known:
        guess = difflib.get_close_matches(match[1], known, n=1)
        fix = f"did you mean {guess[0]}?" if guess else f"there are {', '.join(known)}"
        raise click.UsageError(f"there is no condition {match[1]}; {fix}")


async def _wait(source: Source, outside: World, name: str, goal: str, timeout_s: float) -> None:
    clock = outside.clock
    started_s, progress = clock.monotonic(), Progress(sys.stderr)
    code, words, seen = NOT_READY, "", False
    try:
        while True:
            try:
                view = await source.database(name)
                code, words = NOT_READY, _missing(view, name, goal, seen)
                seen = view is not None
            except Unavailable as exc:
                code, words = UNREACHABLE, str(exc)
            if not words:
                return
            elapsed_s = clock.monotonic() - started_s
            if elapsed_s >= timeout_s:
                raise Failure(f"gave up after {human_age(elapsed_s)}: {name} waits for {words}", code)
            progress.say(f"{name} waits for {words}", human_age(elapsed_s))
            await clock.sleep(min(PAUSE_S, timeout_s - elapsed_s))
    finally:
        progress.end()


def _missing(view: DatabaseView | None, name: str, goal: str, seen: bool) -> str:
    """What is still missing, as words; "" when nothing is. Raises: Failure when waiting cannot help."""
    if goal == DELETED:
        return "" if view is None or _gone(view) else f"its removal, it is {view.status.phase}"
    if view is None:
        if seen:
            raise Failure(f"database {name} was removed meanwhile")
        raise not_found("database", name)
    match = _GOAL.match(goal)
    assert match is not None
    condition, wanted = match[1], match[2] or "True"
    found = view.status.condition(condition)
    current = view.status.observed_revision >= view.metadata.revision
    problems = list(render.problems(view))
    # First, for the spec before the refused one stays in force: Ready may well be True, of another spec than meant.
    if problems and condition != "SpecValid":
        raise Failure("\n  ".join([f"the spec of {name} was refused:", *problems]))
    if found is None and condition in render.TOLD_WHEN_TRUE:
        told = "False" if view.status.conditions else ""
    else:
        told = str(found.status) if found is not None else ""
    if current and told == wanted:
        return ""
    return render.why_not(view, condition) or f"condition {condition} to become {wanted}"


def _gone(view: DatabaseView) -> bool:
    """Retained data stays on purpose; what runs is what counts."""
    return view.metadata.revision == 0 and view.status.phase == "Retained"
