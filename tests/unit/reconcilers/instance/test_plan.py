"""Plans of the agent, asked for values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crds.instance import InstanceDesired, LogicalDatabaseDesired, RoleDesired
from crds.names import RESERVED_PREFIXES, RESERVED_ROLES
from reconcilers.actions import ChangeClass
from reconcilers.instance.actions import CreateVolume, RemoveVolume, RestartPostgres
from reconcilers.instance.plan import plan
from reconcilers.instance.refresh import Inside, Observed
from reconcilers.ports import PatroniView, Secret, VolumeView
from reconcilers.resources import naming, role
from reconcilers.resources.inventory import DatabaseView, Inventory, Membership, RoleView
from reconcilers.resources.sql import RunSql
from tests.sim.agent_host import CLUSTER, HOST, INCARNATION, INSTANCE, VOLUME
from tests.sim.patroni import PRIMARY, REPLICA

DESIRED = InstanceDesired(
    database="orders",
    node="n1",
    instance=INSTANCE,
    host=HOST,
    incarnation=INCARNATION,
    epoch=7,
    volume=VOLUME,
    image="i",
    scope="orders-n1",
    superuser_path="s",
    rest_path="r",
    ca_path="c",
)
OURS = VolumeView(VOLUME, {naming.INCARNATION: INCARNATION}, "/v")
PLAIN = RoleView(
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
)


def wanting(**fields: object) -> InstanceDesired:
    return DESIRED.model_copy(update=fields)


def seeing(
    volume: VolumeView | None = OURS,
    *,
    used: bool = True,
    patroni: PatroniView | None = PRIMARY,
    auto_conf: tuple[str, ...] = (),
    roles: dict[str, RoleView] | None = None,
    databases: dict[str, DatabaseView] | None = None,
    ledger: frozenset[str] = frozenset(),
    recovering: bool = False,
) -> Observed:
    inventory = Inventory(
        version=170002,
        in_recovery=recovering,
        managed=True,
        auto_conf=auto_conf,
        roles=roles or {},
        databases=databases or {},
    )
    inside = Inside(inventory=inventory, ledger=ledger)
    return Observed(
        revision=5, container=None, volume=volume, volume_used=used, patroni=patroni, inside=inside
    )


def test_the_volume_is_made_with_its_incarnation() -> None:
    planned = plan(DESIRED, seeing(None), CLUSTER)

    action = planned.actions[0]
    assert isinstance(action, CreateVolume)
    assert action.name == VOLUME
    assert action.labels == {
        naming.CLUSTER: CLUSTER,
        naming.DATABASE: "orders",
        naming.INSTANCE: INSTANCE,
        naming.INCARNATION: INCARNATION,
    }


@pytest.mark.parametrize(
    ("volume", "used", "kinds", "problems"),
    [
        pytest.param(OURS, False, [RemoveVolume], [], id="nobody uses it: it goes"),
        pytest.param(OURS, True, [], ["VolumeInUse"], id="a container has it: wait"),
        pytest.param(None, False, [], [], id="gone already"),
        pytest.param(
            VolumeView(VOLUME, {naming.INCARNATION: "another"}, ""),
            False,
            [],
            ["VolumeForeign"],
            id="another incarnation",
        ),
        pytest.param(VolumeView(VOLUME, {}, ""), False, [], ["VolumeForeign"], id="nobody's"),
    ],
)
def test_removal_of_data(
    volume: VolumeView | None, used: bool, kinds: list[type], problems: list[str]
) -> None:
    planned = plan(wanting(ensure="absent"), seeing(volume, used=used), CLUSTER)

    assert [type(action) for action in planned.actions] == kinds
    assert [problem.reason for problem in planned.problems] == problems
    assert all(action.change is ChangeClass.DATA_RISK for action in planned.actions)


def test_a_volume_that_was_not_made_for_this_incarnation_is_said() -> None:
    planned = plan(DESIRED, seeing(VolumeView(VOLUME, {}, "")), CLUSTER)

    assert planned.actions == ()
    assert [problem.reason for problem in planned.problems] == ["VolumeForeign"]


def test_a_role_that_came_with_the_cluster_is_not_altered() -> None:
    have = RoleView(**{**{n: getattr(PLAIN, n) for n in PLAIN.__slots__}, "builtin": True})

    for ensure in ("present", "absent"):
        want = RoleDesired(name="admin", ensure=ensure, login=True)
        difference = role.diff(want, None, have, {"admin": have}, 170002)

        assert difference.actions == ()
        assert [problem.reason for problem in difference.problems] == ["ReservedRole"]


def test_a_stopped_instance_keeps_its_volume_and_is_not_entered() -> None:
    planned = plan(wanting(ensure="stopped"), seeing(auto_conf=("work_mem",)), CLUSTER)

    assert planned.actions == ()


@pytest.mark.parametrize(
    ("patroni", "asked", "expected"),
    [
        pytest.param({"pending_restart": True}, True, [ChangeClass.RESTART_PRIMARY], id="asked and pending"),
        pytest.param({"pending_restart": True}, False, [], id="pending, not asked"),
        pytest.param({}, True, [], id="asked, not pending"),
        pytest.param(
            {"pending_restart": True, "role": "replica"}, True, [ChangeClass.RESTART_REPLICA], id="a replica"
        ),
    ],
)
def test_restarts(patroni: dict[str, object], asked: bool, expected: list[ChangeClass]) -> None:
    view = PatroniView(**{**{name: getattr(PRIMARY, name) for name in PRIMARY.__slots__}, **patroni})

    planned = plan(wanting(restart_pending=asked), seeing(patroni=view), CLUSTER)

    assert [action.change for action in planned.actions] == expected
    assert all(isinstance(action, RestartPostgres) for action in planned.actions)


def test_settings_are_taken_back_before_a_restart_reads_them() -> None:
    view = PatroniView(**{**{n: getattr(PRIMARY, n) for n in PRIMARY.__slots__}, "pending_restart": True})

    planned = plan(
        wanting(restart_pending=True), seeing(patroni=view, auto_conf=("max_connections",)), CLUSTER
    )

    assert [action.kind for action in planned.actions] == ["settings"]


@pytest.mark.parametrize(
    ("patroni", "recovering"),
    [
        pytest.param(REPLICA, True, id="a replica"),
        pytest.param(PRIMARY, True, id="still in recovery"),
        pytest.param(replace(PRIMARY, sysid=""), False, id="still being initialised"),
        pytest.param(REPLICA, False, id="demoted, and does not know it yet"),
    ],
)
def test_no_role_sql_but_on_the_primary(patroni: PatroniView, recovering: bool) -> None:
    desired = wanting(roles=(RoleDesired(name="app"),))

    planned = plan(desired, seeing(patroni=patroni, recovering=recovering), CLUSTER)

    assert planned.actions == ()
    assert planned.inside is None


def test_only_the_frontier_is_planned() -> None:
    database = LogicalDatabaseDesired(name="orders", owner="app", extensions=("hstore",))
    desired = wanting(roles=(RoleDesired(name="app"),), databases=(database,))

    planned = plan(desired, seeing(), CLUSTER)

    assert [(action.kind, action.name) for action in planned.actions] == [("role", "app")]
    assert planned.inside is not None
    assert planned.inside.waiting == (
        "database orders: its owner app does not exist",
        "database orders: its extensions",
    )


def test_a_role_without_its_password_is_not_made() -> None:
    desired = wanting(roles=(RoleDesired(name="app", login=True, password_path="secrets/x"),))

    planned = plan(desired, seeing(), CLUSTER)

    assert planned.actions == ()
    assert planned.inside is not None
    assert planned.inside.waiting == ("role app: its password",)


def test_an_interrupted_drop_counts_as_lost() -> None:
    ruin = DatabaseView(owner="app", encoding="UTF8", collate="C", connectable=True, valid=False)
    desired = wanting(databases=(LogicalDatabaseDesired(name="orders"),))

    planned = plan(desired, seeing(databases={"orders": ruin}, ledger=frozenset({"orders"})), CLUSTER)

    assert planned.actions == ()
    assert planned.inside is not None
    assert planned.inside.lost == ("orders",)


@pytest.mark.parametrize("name", ["postgres", "template1", "replication", "pg_x", "pgswarm"])
def test_reserved_databases_are_refused(name: str) -> None:
    planned = plan(wanting(databases=(LogicalDatabaseDesired(name=name),)), seeing(), CLUSTER)

    assert planned.actions == ()
    assert planned.inside is not None
    assert [problem.reason for problem in planned.inside.problems] == ["ReservedDatabase"]


def test_a_membership_that_postgres_implies_is_left_alone() -> None:
    implied = Membership("child", "postgres", admin=True, implied=True)
    have = RoleView(**{**{n: getattr(PLAIN, n) for n in PLAIN.__slots__}, "member_of": (implied,)})

    difference = role.diff(RoleDesired(name="app"), None, have, {"app": have}, 170002)

    assert difference.actions == ()


def test_a_revoke_names_the_grantor_where_postgres_keeps_one() -> None:
    granted = Membership("team", "somebody", admin=False, implied=False)
    have = RoleView(**{**{n: getattr(PLAIN, n) for n in PLAIN.__slots__}, "member_of": (granted,)})

    texts = [
        role.diff(RoleDesired(name="app"), None, have, {}, version).actions[0].statements[0].template
        for version in (150018, 170002)
    ]

    assert texts == [
        "REVOKE {parent} FROM {role} CASCADE",
        "REVOKE {parent} FROM {role} GRANTED BY {grantor} CASCADE",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("infinity", None),
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00.000000Z"),
        ("2030-01-01T01:00:00+02:00", "2029-12-31T23:00:00.000000Z"),
        ("2030-01-01", "2030-01-01T00:00:00.000000Z"),
    ],
)
def test_times_are_compared_in_one_form(text: str | None, expected: str | None) -> None:
    assert role.normal_time(text) == expected


def test_a_time_that_is_none_is_a_problem() -> None:
    difference = role.diff(RoleDesired(name="app", valid_until="tomorrow"), None, None, {}, 170002)

    assert difference.actions == ()
    assert [problem.reason for problem in difference.problems] == ["InvalidRole"]


def _free(name: str) -> bool:
    return name not in RESERVED_ROLES and not name.startswith(tuple(RESERVED_PREFIXES))


@given(
    flags=st.fixed_dictionaries({flag: st.booleans() for flag in role.FLAGS}),
    name=st.text(min_size=1, max_size=30).filter(_free),
    text=st.text(max_size=30),
)
def test_no_name_or_value_ever_enters_a_template(flags: dict[str, bool], name: str, text: str) -> None:
    """A template's only letters are ours: it is the same whatever the names are."""
    password = Secret(text)
    odd = role.diff(RoleDesired(name=name, comment=text, **flags), password, None, {}, 170002)
    plain = role.diff(RoleDesired(name="a", comment="b", **flags), Secret("c"), None, {}, 170002)

    def templates(actions: tuple[RunSql, ...]) -> list[str]:
        return [statement.template for action in actions for statement in action.statements]

    assert templates(odd.actions) == templates(plain.actions)


def test_an_action_does_not_show_a_password() -> None:
    actions = role.diff(RoleDesired(name="app"), Secret("canary"), None, {}, 170002).actions

    assert "canary" not in repr(actions) + str(actions[0])
