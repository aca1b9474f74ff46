"""What a pass runs inside Postgres: names that are data, and an order that a crash may cut anywhere."""

from __future__ import annotations

import pytest

from crds.instance import LogicalDatabaseDesired, RoleDesired
from reconcilers.ports import Statement
from reconcilers.resources import logical_database, role
from reconcilers.resources.inventory import Membership, RoleView
from reconcilers.resources.sql import Difference

CANARY = 'x"; DROP ROLE postgres; --'


def view(*member_of: Membership) -> RoleView:
    return RoleView(
        login=False,
        superuser=False,
        createdb=False,
        createrole=False,
        replication=False,
        bypassrls=False,
        inherit=True,
        connection_limit=-1,
        valid_until=None,
        password=None,
        comment=None,
        builtin=False,
        member_of=member_of,
    )


def statements(difference: Difference) -> list[Statement]:
    return [statement for action in difference.actions for statement in action.statements]


@pytest.mark.parametrize("there", [False, True], ids=["a new role", "a role that is there"])
@pytest.mark.parametrize("wanted", [True, False], ids=["to be granted", "to be revoked"])
def test_the_name_of_a_parent_is_never_a_part_of_the_statement(there: bool, wanted: bool) -> None:
    want = RoleDesired(name="app", member_of=(CANARY,) if wanted else ())
    have = view(*(() if wanted else (Membership(CANARY, "postgres", admin=False, implied=False),)))
    found = statements(role.diff(want, None, have if there else None, {CANARY: view()}, 170000))

    assert any(CANARY in one.identifiers.values() for one in found) == (there or wanted)
    assert all("DROP" not in one.template for one in found)


def test_a_crash_between_two_statements_never_makes_a_database_look_lost() -> None:
    """Entered in the ledger and not there is what data loss looks like, for ever."""
    want = LogicalDatabaseDesired(name="orders")
    entered = made = False
    for statement in statements(logical_database.diff(want, None, (), {})):
        made = made or statement.template.startswith("CREATE DATABASE")
        entered = entered or statement.template == logical_database.ENTER
        assert made or not entered
    assert made
    assert entered
