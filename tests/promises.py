"""
How many promises the contract suites hold a fake and the real thing to, counted in the text of the tests.

A test counts once, whatever the number of values that it is played with, and helpers do not count: it is a lower bound.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).resolve().parent / "contract"
SIDES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "etcd": (
            "test_etcd_accounts.py",
            "test_etcd_faults.py",
            "test_etcd_tls.py",
            "test_feed.py",
            "test_instance_etcd.py",
            "test_leases.py",
            "test_mirror.py",
            "test_store.py",
        ),
        "dockerd, one node": ("test_engine.py", "test_orchestrator.py"),
        "Postgres": ("test_instance_sql.py", "test_sql.py"),
        "Patroni's REST API, answered by a server of the tests": ("test_patroni_client.py",),
    }
)
"""Who the other side is in which file."""
SHARED = ("conftest.py", "swarm_harness.py")
"""Where fixtures are that several files use."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests against one side; `both`: of them, those that the fake must pass, too."""

    side: str
    both: int
    both_assertions: int
    alone: int
    alone_assertions: int


def suites() -> list[Suite]:
    """Raises: ValueError if there is a file of which nobody has said who its other side is."""
    known = {name for names in SIDES.values() for name in names}
    if strangers := {file.name for file in FOLDER.glob("test_*.py")} ^ known:
        raise ValueError(f"SIDES is not of one mind with the folder about {', '.join(sorted(strangers))}")
    return [_suite(side, names) for side, names in SIDES.items()]


def _suite(side: str, names: tuple[str, ...]) -> Suite:
    shared = {one.name for name in SHARED for one in _functions(name) if _has_two_sides(one)}
    both: list[Function] = []
    alone: list[Function] = []
    for name in names:
        functions = list(_functions(name))
        two_sided = shared | {one.name for one in functions if _has_two_sides(one)}
        for one in functions:
            if one.name.startswith("test_"):
                asks = {argument.arg for argument in one.args.args}
                (both if asks & two_sided else alone).append(one)
    return Suite(side, len(both), _assertions(both), len(alone), _assertions(alone))


def _functions(name: str) -> Iterator[Function]:
    for node in ast.parse((FOLDER / name).read_text()).body:
        if isinstance(node, Function):
            yield node


def _has_two_sides(function: Function) -> bool:
    """A fixture that is made once with the fake and once without."""
    return any(
        isinstance(one, ast.Call)
        and ast.unparse(one.func) == "pytest.fixture"
        and any(given.arg == "params" and "'fake'" in ast.unparse(given.value) for given in one.keywords)
        for one in function.decorator_list
    )


def _assertions(functions: list[Function]) -> int:
    """`assert`, and the expectation of an error."""
    return sum(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.raises")
        for function in functions
        for node in ast.walk(function)
    )
