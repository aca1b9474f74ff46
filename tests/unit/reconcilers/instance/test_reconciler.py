"""The agent's passes in an in-memory host: volumes, reporting, pace, claims."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crds.instance import LogicalDatabaseDesired, RoleDesired
from crds.meta import Key
from reconcilers import paths
from reconcilers.errors import Conflict, InvalidSpec, OwnershipLost, Unavailable
from reconcilers.ports import InstanceAccess, Put, VolumeView
from reconcilers.resources import naming
from tests.sim.agent_host import HOST, INCARNATION, INSTANCE, VOLUME, AgentHost
from tests.sim.clock import FakeIds
from tests.sim.patroni import PRIMARY, REPLICA, FakePatroni
from tests.sim.postgres import FakePostgres, FakeSql

ADDRESS = "10.0.0.1"
SECRETS = {"superuser": "superuser", "rest": "rest", "ca": "-"}
OURS = VolumeView(VOLUME, {naming.INCARNATION: INCARNATION}, "/v")


class World:
    def __init__(self, secrets: dict[str, str] | None = None) -> None:
        self.postgres = FakePostgres(ADDRESS)
        self.sql = FakeSql([self.postgres], FakeIds())
        self.patroni = FakePatroni({ADDRESS: PRIMARY})
        self.agent = AgentHost(
            self.sql,
            self.patroni,
            FakeIds(),
            address=ADDRESS,
            secrets=SECRETS if secrets is None else secrets,
        )
        self.etcd, self.engine = self.agent.etcd, self.agent.engine


@pytest.fixture
def world() -> World:
    return World()


async def test_the_volume_comes_first_and_the_wait_is_short(world: World) -> None:
    world.agent.want()
    await world.agent.once()

    assert set(world.engine.volumes) == {VOLUME}
    result = await world.agent.once()
    assert result.actions == 0
    assert result.requeue_after_s is not None
    assert 0.5 <= result.requeue_after_s <= 1.0
    assert world.agent.seen().volume
    assert world.agent.seen().container is None


async def test_what_is_seen_is_published_on_the_lease(world: World) -> None:
    world.agent.want()
    world.agent.run()

    seen = await world.agent.settle()

    assert seen.container is not None
    assert (seen.container.id, seen.container.address) == ("c1", ADDRESS)
    assert seen.patroni is not None
    assert (seen.patroni.role, seen.patroni.sysid) == ("primary", PRIMARY.sysid)
    assert seen.desired_revision == world.etcd.now[paths.desired(HOST, INSTANCE)].mod_revision
    writes = [write for commit in world.etcd.commits for write in commit]
    assert all(isinstance(write, Put) and write.leased for write in writes)


async def test_the_end_of_the_certificate_is_published_and_causes_no_write_while_it_stays(
    world: World,
) -> None:
    world.patroni.views[ADDRESS] = replace(PRIMARY, certificate_expires="2029-02-24T11:00:00Z")
    world.agent.want()
    world.agent.run()
    seen = await world.agent.settle()
    commits = len(world.etcd.commits)

    await world.agent.once()

    assert seen.patroni is not None
    assert seen.patroni.certificate_expires == "2029-02-24T11:00:00Z"
    assert len(world.etcd.commits) == commits


async def test_a_lost_record_is_published_again(world: World) -> None:
    world.agent.want()
    await world.agent.settle()
    del world.etcd.now[paths.observed(HOST, INSTANCE)]

    await world.agent.once()

    assert world.agent.seen().volume


async def test_a_mirror_that_lags_behind_our_own_write_causes_no_second_one(world: World) -> None:
    world.agent.want()
    await world.agent.settle()
    world.etcd.lag()
    world.agent.run()
    await world.agent.once()
    commits = len(world.etcd.commits)

    await world.agent.once()
    await world.agent.once()

    assert len(world.etcd.commits) == commits


async def test_silence_of_a_starting_container_is_no_problem(world: World) -> None:
    world.agent.want()
    world.patroni.views.clear()
    world.agent.run(health="starting")

    seen = await world.agent.settle()

    assert seen.problems == ()
    assert seen.patroni is None


async def test_silence_of_a_healthy_container_is_one(world: World) -> None:
    world.agent.want()
    world.patroni.views.clear()
    world.agent.run()

    seen = await world.agent.settle()

    assert [problem.reason for problem in seen.problems] == ["PatroniUnavailable"]


@pytest.mark.parametrize("state", ["stopped", "start failed", "crashed"])
async def test_why_postgres_does_not_run_is_told_from_its_log(world: World, state: str) -> None:
    world.agent.want()
    world.patroni.views[ADDRESS] = replace(PRIMARY, state=state)
    world.engine.said = ["PANIC:  could not write to file: No space left on device"]
    world.agent.run()

    seen = await world.agent.settle()

    assert seen.problems[0].reason == "DiskFull"
    assert "the disk of its volume is full" in seen.problems[0].message


@pytest.mark.parametrize(
    ("said", "full"),
    [
        (None, False),
        ("100000 1000000 4096", False),
        ("16384 50000000 4096", False),  # 64 MiB
        ("16383 50000000 4096", True),
        ("400 38400 4096", True),
        ("2000 38400 4096", False),  # of a small disk a twentieth
        ("0 38400 4096", True),
        ("-1 38400 4096", False),
        ("nonsense", False),
        ("", False),
    ],
)
async def test_a_full_disk_is_told_while_postgres_runs_on(
    world: World, said: str | None, *, full: bool
) -> None:
    world.agent.want()
    world.postgres.disk = said
    world.agent.run()

    seen = await world.agent.settle()

    assert ("DiskFull" in {one.reason for one in seen.problems}) is full


async def test_a_log_that_cannot_be_read_hides_nothing_else(world: World) -> None:
    world.agent.want()
    world.patroni.views[ADDRESS] = replace(PRIMARY, state="crashed")
    world.engine.mute = True
    world.agent.run()

    seen = await world.agent.settle()

    assert seen.patroni is not None
    assert seen.patroni.state == "crashed"
    assert world.engine.listened > 0


@pytest.mark.parametrize("state", ["running", "starting", "initializing new cluster", "creating replica"])
async def test_nobody_reads_the_log_of_what_runs_or_is_on_its_way(world: World, state: str) -> None:
    world.agent.want()
    world.patroni.views[ADDRESS] = replace(PRIMARY, state=state)
    world.agent.run()
    await world.agent.settle()

    assert world.engine.listened == 0


async def test_postgres_that_does_not_answer_is_reported_and_asked_again_soon(world: World) -> None:
    world.agent.want()
    world.agent.run()
    world.postgres.silent.add(ADDRESS)
    await world.agent.settle()

    result = await world.agent.once()

    assert [problem.reason for problem in world.agent.seen().problems] == ["PostgresUnavailable"]
    assert result.requeue_after_s is not None
    assert result.requeue_after_s <= 1.0


@pytest.mark.parametrize("missing", ["superuser", "rest", "ca"])
async def test_a_missing_secret_is_named(missing: str) -> None:
    world = World({name: text for name, text in SECRETS.items() if name != missing})
    world.agent.want()
    world.agent.run()

    seen = await world.agent.settle()

    assert [problem.reason for problem in seen.problems] == ["SecretMissing"]
    assert missing in seen.problems[0].message


async def test_a_secret_that_does_not_open_is_named(world: World) -> None:
    world.agent.secret("superuser", "sealed with another key")
    world.agent.want()
    world.agent.run()

    seen = await world.agent.settle()

    assert [problem.reason for problem in seen.problems] == ["SecretSealed"]


async def test_the_running_container_counts_and_other_incarnations_do_not(world: World) -> None:
    world.agent.want()
    world.agent.run(id="old", state="exited", address="", started_at="2027-01-01T00:00:00Z")
    world.agent.run(id="now")
    other = {naming.INSTANCE: INSTANCE, naming.INCARNATION: "another"}
    world.agent.run(id="other", labels=other, started_at="2028-01-01T00:00:00Z")

    seen = await world.agent.settle()

    assert seen.container is not None
    assert seen.container.id == "now"


# --- the end of data


async def _absent(world: World) -> None:
    world.agent.want(ensure="absent")
    world.engine.volumes[VOLUME] = OURS


async def test_the_volume_goes_when_it_is_to_be_absent(world: World) -> None:
    await _absent(world)

    seen = await world.agent.settle()

    assert world.engine.volumes == {}
    assert seen.volume is False


async def test_the_volume_stays_while_a_container_has_it(world: World) -> None:
    await _absent(world)
    world.agent.run(state="exited")

    seen = await world.agent.settle()

    assert set(world.engine.volumes) == {VOLUME}
    assert [problem.reason for problem in seen.problems] == ["VolumeInUse"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ensure": "present"}, id="wanted again"),
        pytest.param({"ensure": "stopped"}, id="to be kept"),
        pytest.param({"epoch": 8}, id="another owner"),
        pytest.param({"incarnation": "another"}, id="another incarnation"),
        pytest.param(None, id="the record is gone"),
    ],
)
async def test_the_volume_stays_if_etcd_says_something_else_by_now(
    world: World, change: dict[str, object] | None
) -> None:
    """The mirror still has the old record: only the linearizable read saves the data."""
    await _absent(world)
    world.etcd.lag()
    path = paths.desired(HOST, INSTANCE)
    if change is None:
        del world.etcd.now[path]
    else:
        world.etcd.put(path, world.agent.desired.model_copy(update=change).model_dump_json().encode())

    with pytest.raises(Conflict):
        await world.agent.once()

    assert set(world.engine.volumes) == {VOLUME}


async def test_nothing_of_an_instance_is_removed_when_its_record_goes(world: World) -> None:
    world.agent.want()
    await world.agent.settle()
    del world.etcd.now[paths.desired(HOST, INSTANCE)]

    await world.agent.once()

    assert set(world.engine.volumes) == {VOLUME}
    assert paths.observed(HOST, INSTANCE) not in world.etcd.now


# --- claims, bad records, pace


@pytest.mark.parametrize("left", [0, 1, 2, 3])
async def test_nothing_is_done_after_the_deadline(world: World, left: int) -> None:
    world.agent.want(roles=[RoleDesired(name=f"r{n}") for n in range(5)])
    world.agent.run()
    world.engine.volumes[VOLUME] = OURS
    world.agent.claim.effects_left = left

    with pytest.raises(OwnershipLost):
        await world.agent.once()

    assert len([name for name in world.postgres.state.roles if name.startswith("r")]) == left
    assert world.etcd.commits == []


@pytest.mark.parametrize("value", [b"", b"{}", b"[", b"\xff", b'{"database": 5}'])
async def test_an_unreadable_record_changes_nothing(world: World, value: bytes) -> None:
    world.etcd.put(paths.desired(HOST, INSTANCE), value)

    with pytest.raises(InvalidSpec):
        await world.agent.once()

    assert (world.engine.effects, world.etcd.commits) == ([], [])


async def test_a_record_of_another_instance_changes_nothing(world: World) -> None:
    strange = world.agent.desired.model_copy(update={"instance": "shop-n1-abc234"})
    world.etcd.put(paths.desired(HOST, INSTANCE), strange.model_dump_json().encode())

    with pytest.raises(InvalidSpec):
        await world.agent.once()

    assert world.engine.effects == []


async def test_a_settled_instance_costs_few_questions_and_no_write(world: World) -> None:
    database = LogicalDatabaseDesired(name="orders", extensions=("hstore",))
    world.agent.want(roles=[RoleDesired(name="app")], databases=[database])
    world.agent.run()
    await world.agent.settle()
    queries, commits = world.sql.queries, len(world.etcd.commits)

    result = await world.agent.once()

    assert world.sql.queries - queries == 3
    assert len(world.etcd.commits) == commits
    assert result.requeue_after_s is not None
    assert 15 <= result.requeue_after_s <= 18


async def test_patroni_is_asked_every_third_time_while_nothing_of_it_moves(world: World) -> None:
    world.agent.want(roles=[RoleDesired(name="app")])
    world.agent.run()
    await world.agent.settle()
    before = world.patroni.looks
    for _ in range(6):
        await world.agent.once()
    assert world.patroni.looks - before == 2

    # Its record moves: what it says now is asked for at once.
    world.patroni.views[ADDRESS] = replace(PRIMARY, timeline=2)
    world.etcd.put(paths.patroni(world.agent.desired.scope, f"members/{INSTANCE}"), b"{}")
    await world.agent.once()
    patroni = world.agent.seen().patroni
    assert patroni is not None
    assert patroni.timeline == 2


async def test_work_that_does_not_help_is_not_repeated_at_full_speed(world: World) -> None:
    world.agent.want(roles=[RoleDesired(name="app")])
    world.agent.run()
    await world.agent.settle()
    waits = []
    for _ in range(3):
        world.postgres.alter_role("app", "login", True)
        waits.append((await world.agent.once()).requeue_after_s)

    assert waits[0] == 0.0
    assert all(wait is not None and wait >= 0.5 for wait in waits[1:])


async def test_a_pending_restart_is_carried_out_when_the_owner_says_so(world: World) -> None:
    world.patroni.views[ADDRESS] = replace(PRIMARY, pending_restart=True)
    world.agent.want()
    world.agent.run()
    await world.agent.settle()
    assert world.patroni.restarts == []
    world.agent.want(restart_pending=True)

    await world.agent.settle()

    assert world.patroni.restarts == [ADDRESS]


async def test_a_replica_is_settled_without_sql_of_its_own(world: World) -> None:
    world.postgres.primary = "10.0.0.2"
    world.patroni.views[ADDRESS] = REPLICA
    world.agent.want(roles=[RoleDesired(name="app")])
    world.agent.run()
    seen = await world.agent.settle()

    result = await world.agent.once()

    assert seen.sql is None
    assert world.postgres.writes == 0
    assert result.requeue_after_s is not None
    assert result.requeue_after_s >= 10


async def test_postgres_that_goes_away_in_the_middle_is_reported_and_raised(world: World) -> None:
    class Fading(FakeSql):
        async def execute(
            self, access: InstanceAccess, database: str, statements: object, *, epoch: int
        ) -> None:
            raise Unavailable("postgres", "it hung up")

    world = World()
    world.agent = AgentHost(
        Fading([world.postgres], FakeIds()), world.patroni, FakeIds(), address=ADDRESS, secrets=SECRETS
    )
    world.agent.want(roles=[RoleDesired(name="app")])
    world.agent.run()
    world.agent.engine.volumes[VOLUME] = OURS

    with pytest.raises(Unavailable):
        await world.agent.once()

    assert [problem.reason for problem in world.agent.seen().problems] == ["Unavailable"]


async def test_other_keys_do_not_disturb(world: World) -> None:
    result = await world.agent.reconciler.reconcile(Key("instance", "unknown"), world.agent.claim)

    assert (result.actions, world.etcd.commits) == (0, [])
