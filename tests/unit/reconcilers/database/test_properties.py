"""
What holds of every plan, whatever the spec and however the world was spoilt before.

A world is a finished database on which some of the things were done that people, crashes and dead hosts do; then the
plan is played to its end, frontier by frontier, and each frontier is judged against the snapshot it was made from.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from crds.instance import InstanceDesired
from reconcilers.actions import (
    Action,
    ChangeClass,
    CreateService,
    GenerateSecret,
    Plan,
    RemoveService,
    UpdateService,
    WriteRecords,
)
from reconcilers.database import health
from reconcilers.database.forecast import LOOPS_MAX, predict, settle
from reconcilers.database.plan import plan
from reconcilers.database.report import report
from reconcilers.observed import DesiredReading, Observed, PatroniCluster
from reconcilers.ports import Put, Remove, ServiceView
from reconcilers.resources import fence, naming, service, topology
from tests.unit.reconcilers.database.scene import database, edited, empty, host

HOSTS = tuple(f"host-{number}" for number in range(1, 6))
EXAMPLES = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow],
)


# --- specs and worlds -----------------------------------------------------------------------------------

Spec = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
"""Hosts, and options as (name, JSON): hashable, so that finished worlds are made once."""

OPTIONS: dict[str, tuple[Any, ...]] = {
    "port": (None, "auto", 16000),
    "resources": ({"memory": "512MiB"}, {"memory": "1GiB", "cpus": "2"}),
    "roles": ([{"name": "app", "login": True}], [{"name": "app", "login": True}, {"name": "reader"}]),
    "deletion": ({"policy": "retain"}, {"policy": "delete"}, {"policy": "delete", "protected": True}),
    "patroni": ({}, {"synchronous": "on"}, {"synchronous": "strict"}),
    "postgres": (
        {},
        {"parameters": {"max_connections": "50"}},
        {"hba": ["hostssl all app 10.0.0.0/8 reject"]},
    ),
    "paused": (False, False, False, True),
}


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    hosts = draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=5, unique=True))
    return tuple(hosts), tuple(
        (name, json.dumps(draw(st.sampled_from(values)))) for name, values in OPTIONS.items()
    )


def wanted(spec: Spec) -> Any:
    hosts, options = spec
    return database(hosts=hosts, **{name: json.loads(text) for name, text in options})


@cache
def finished(spec: Spec, etcd_auth: bool) -> Observed:
    hosts, options = spec
    unpaused = (hosts, tuple((name, "false" if name == "paused" else text) for name, text in options))
    start = empty(wanted(unpaused), hosts={name: host(name) for name in HOSTS}, etcd_auth=etcd_auth)
    return list(play(start, lambda world: world))[-1].after


Spoil = Callable[[Observed, int], Observed]
"""The number says which of the database's instances it hits."""


def _victim(world: Observed, number: int) -> topology.Instance:
    assert world.accepted is not None
    every = topology.instances(world.key.name, world.accepted)
    return every[number % len(every)]


def _touch(**changes: Any) -> Spoil:
    def spoil(world: Observed, number: int) -> Observed:
        view = world.services.get(_victim(world, number).name)
        if view is None:
            return world
        changed = ServiceView(view.id, view.version + 1, replace(view.spec, **changes))
        return replace(world, services={**world.services, view.spec.name: changed})

    return spoil


def _labels(change: Callable[[dict[str, str]], object]) -> Spoil:
    def spoil(world: Observed, number: int) -> Observed:
        view = world.services.get(_victim(world, number).name)
        if view is None:
            return world
        labels = dict(view.spec.labels)
        change(labels)
        return _touch(labels=labels)(world, number)

    return spoil


def _without(field: str, choose: Callable[[Observed, topology.Instance, Any], bool]) -> Spoil:
    def spoil(world: Observed, number: int) -> Observed:
        victim = _victim(world, number)
        kept = {key: one for key, one in getattr(world, field).items() if not choose(world, victim, key)}
        return replace(world, **{field: kept})  # type: ignore[arg-type]

    return spoil


def _cluster(**changes: Any) -> Spoil:
    def spoil(world: Observed, number: int) -> Observed:
        scope = _victim(world, number).scope
        found = world.patroni.get(scope, PatroniCluster())
        return replace(world, patroni={**world.patroni, scope: replace(found, **changes)})

    return spoil


def _member_gone(world: Observed, number: int) -> Observed:
    victim = _victim(world, number)
    found = world.patroni.get(victim.scope, PatroniCluster())
    members = {name: view for name, view in found.members.items() if name != victim.name}
    leader = None if found.leader == victim.name else found.leader
    world = _cluster(members=members, leader=leader)(world, number)
    return replace(world, instances={n: seen for n, seen in world.instances.items() if n != victim.name})


def _pending_restart(world: Observed, number: int) -> Observed:
    victim = _victim(world, number)
    members = dict(world.patroni.get(victim.scope, PatroniCluster()).members)
    if victim.name in members:
        members[victim.name] = replace(members[victim.name], pending_restart=True)
    return _cluster(members=members)(world, number)


def _unreadable(world: Observed, number: int) -> Observed:
    victim = _victim(world, number)
    return replace(world, desired={**world.desired, (victim.host, victim.name): DesiredReading(None, 77)})


SPOILS: dict[str, Spoil] = {
    "service removed": _without("services", lambda w, v, key: key == v.name),
    "fence removed": _without("services", lambda w, v, key: key == naming.fence(w.key.name)),
    "image edited": _touch(image="evil:1"),
    "memory edited": _touch(memory_bytes=1),
    "something foreign": _touch(foreign="TaskTemplate.ForceUpdate"),
    "scaled to 0": _touch(replicas=0),
    "scaled to 2": _touch(replicas=2),
    "placement lost": _touch(node_id=""),
    "label lost": _labels(lambda labels: labels.pop(naming.NODE, None)),
    "epoch label lost": _labels(lambda labels: labels.pop(naming.EPOCH, None)),
    "activation label lost": _labels(lambda labels: labels.pop(naming.ACTIVATED, None)),
    "tombstoned": lambda w, n: _touch(replicas=0)(
        _labels(lambda labels: labels.update({naming.TOMBSTONE: "1"}))(w, n), n
    ),
    "member gone": _member_gone,
    "restart pending": _pending_restart,
    "leader gone": _cluster(leader=None),
    "config removed": _cluster(config=None, config_revision=0),
    "config edited": _cluster(config={"ttl": 3600}, config_revision=99),
    "initialize removed": _cluster(initialize=None),
    "switchover asked for": _cluster(failover_requested=True, failover_revision=98),
    "all of patroni removed": lambda w, n: replace(w, patroni={}),
    "role password missing": _without("vault", lambda w, v, key: key == "role-app"),
    "certificate missing": _without("vault", lambda w, v, key: key == f"server-{v.name}"),
    "authority missing": _without("vault", lambda w, v, key: key == "ca"),
    "superuser missing": _without("vault", lambda w, v, key: key == "superuser"),
    "swarm secret missing": _without("secrets", lambda w, v, key: key.startswith(v.name)),
    "swarm configs missing": lambda w, n: replace(w, configs={}),
    "network missing": lambda w, n: replace(w, networks={}),
    "subnet missing": lambda w, n: replace(w, subnets=frozenset(), free_subnet="10.121.0.64/26"),
    "ports missing": lambda w, n: replace(w, ports={}),
    "account record missing": _without("accounts", lambda w, v, key: key == naming.etcd_user(v.name)),
    "etcd users lost": lambda w, n: replace(w, etcd_users=frozenset()),
    "desired missing": _without("desired", lambda w, v, key: key == (v.host, v.name)),
    "desired unreadable": _unreadable,
    "new owner": lambda w, n: replace(w, epoch=w.epoch + 10),
    "more endpoints": lambda w, n: replace(w, etcd_endpoints=("http://10.0.0.9:2379",)),
}


@dataclass(frozen=True)
class Case:
    before: Spec
    after: Spec | None
    etcd_auth: bool
    spoils: tuple[tuple[str, int], ...]
    dead: frozenset[str]
    """Hosts without power."""
    mute: frozenset[str]
    """Hosts on which only pgswarm does not run."""

    def world(self) -> Observed:
        world = finished(self.before, self.etcd_auth)
        if self.after != self.before:
            world = edited(world, None if self.after is None else wanted(self.after))
        for name, number in self.spoils:
            world = SPOILS[name](world, number)
        return self.black_out(world)

    def black_out(self, world: Observed) -> Observed:
        return muted(dark(world, self.dead), self.dead | self.mute)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    before = draw(specs())
    other_options = draw(specs())[1]
    after = draw(st.one_of(st.just(before), st.just((before[0], other_options)), specs(), st.none()))
    spoils = draw(st.lists(st.tuples(st.sampled_from(sorted(SPOILS)), st.integers(0, 4)), max_size=4))
    nobody: frozenset[str] = frozenset()
    some = st.one_of(st.just(nobody), st.frozensets(st.sampled_from(before[0]), max_size=2))
    return Case(before, after, draw(st.booleans()), tuple(spoils), draw(some), draw(some))


def muted(world: Observed, hosts: frozenset[str]) -> Observed:
    """No pgswarm lives on these hosts: no record of it, no word of what runs there."""
    silent = {naming.instance("orders", "n1", name) for name in hosts}
    known = {
        name: replace(view, record=None) if name in hosts else view for name, view in world.hosts.items()
    }
    seen = {name: one for name, one in world.instances.items() if name not in silent}
    return replace(world, hosts=known, instances=seen)


def dark(world: Observed, dead: frozenset[str]) -> Observed:
    """Nothing runs on these hosts: Patroni's records of it have ended."""
    silent = {naming.instance("orders", "n1", name) for name in dead}
    clusters = {}
    for scope, found in world.patroni.items():
        members = {name: view for name, view in found.members.items() if name not in silent}
        leader = found.leader if found.leader in members else min(members, default=None)
        clusters[scope] = replace(found, members=members, leader=leader)
    return replace(world, patroni=clusters)


@dataclass(frozen=True)
class Loop:
    before: Observed
    todo: Plan
    after: Observed


def play(world: Observed, black_out: Callable[[Observed], Observed]) -> Iterator[Loop]:
    """Frontier by frontier to the end; the last one has no action. Raises AssertionError if there is no end."""
    for _ in range(LOOPS_MAX):
        todo = plan(world)
        after = world
        for action in todo.actions:
            after = predict(after, action)
        after = black_out(settle(after))
        yield Loop(world, todo, after)
        if not todo.actions and after == world:
            return
        world = after
    raise AssertionError(f"no end: {[str(action) for action in todo.actions]}")


# --- the properties -------------------------------------------------------------------------------------


@EXAMPLES
@given(cases())
def test_every_plan_ends_and_nothing_is_left_to_do(case: Case) -> None:
    loops = list(play(case.world(), case.black_out))

    assert len(loops) <= 60
    assert loops[-1].todo.actions == ()
    event(f"{len(loops) // 5 * 5}+ frontiers")


@EXAMPLES
@given(cases())
def test_what_has_no_reason_to_wait_is_ready_at_the_end(case: Case) -> None:
    *_, last = play(case.world(), case.black_out)
    status = report(last.after, last.todo, None)
    accepted = last.after.accepted

    if accepted is None or accepted.state != "active" or accepted.spec.paused:
        return
    if not case.dead and not case.mute:
        assert status.phase == "Ready", (status.conditions, status.pending)
        assert last.todo.waiting == () or {one.reason for one in last.todo.waiting} == {"Protected"}
    elif status.phase != "Ready":
        assert any("down" in (c.message or "") for c in status.conditions), status.conditions


@settings(EXAMPLES, max_examples=150)
@given(cases())
def test_no_frontier_disturbs_more_than_one_instance_that_serves(case: Case) -> None:
    for loop in play(case.world(), case.black_out):
        accepted = loop.before.accepted
        if accepted is None or accepted.state != "active":
            continue
        hit = {name for action in loop.todo.actions if (name := _disturbed(loop.before, action))}
        assert len(hit) <= 1, [str(action) for action in loop.todo.actions]
        if hit and len(topology.instances("orders", accepted)) > 1:
            others = [i for i in topology.instances("orders", accepted) if i.name not in hit]
            assert all(_runs(loop.before, one) for one in others)
            # A restart of Postgres for a parameter happens in place; a container goes only after a switchover.
            in_place = any(action.kind in ("leadership", "desired") for action in loop.todo.actions)
            assert in_place or not any(loop.before.patroni[one.scope].leader in hit for one in others)


def _disturbed(world: Observed, action: Action) -> str:
    """The serving, wanted instance that loses its Postgres for a moment because of the action."""
    assert world.accepted is not None
    wanted_ones = {one.name: one for one in topology.instances("orders", world.accepted)}
    name = action.name
    match action:
        case UpdateService():
            view = world.services[action.name]
            stops = service.restarts(view, action.spec) or action.spec.replicas < min(1, view.spec.replicas)
        case RemoveService():
            stops = world.services[action.name].spec.replicas > 0
        case WriteRecords(kind="leadership"):
            stops, name = True, world.patroni[action.name].leader or ""
        case WriteRecords(kind="desired"):
            stops = action.change is not ChangeClass.NONE
        case _:
            return ""
    return name if stops and name in wanted_ones and _runs(world, wanted_ones[name]) else ""


def _runs(world: Observed, one: topology.Instance) -> bool:
    """By Patroni's word, which reaches etcd also when pgswarm on that host is away."""
    member = health.member(world, one)
    return member is not None and member.state in health.SERVING


@EXAMPLES
@given(cases())
def test_the_rules_of_fencing_hold_in_every_frontier(case: Case) -> None:
    for loop in play(case.world(), case.black_out):
        world, actions = loop.before, loop.todo.actions
        fenced = (
            naming.fence("orders") in world.services
            and fence.epoch_of(world.services[naming.fence("orders")]) == world.epoch
        )
        for action in actions:
            match action:
                case CreateService():
                    assert action.spec.replicas == 0, "F5"
                case UpdateService():
                    assert action.version == world.services[action.name].version, "F3"
                    assert action.spec.labels[naming.EPOCH] == str(world.epoch), "F1"
                case RemoveService() if action.kind == service.KIND:
                    view = world.services[action.name]
                    assert service.tombstoned(view), "F6"
                    assert view.spec.replicas == 0, "F6"
                    assert action.service_id == view.id, "F6"
            if not fenced and world.services:
                assert action.kind in ("spec", "fence", "service"), f"F2: {action}"


@EXAMPLES
@given(cases())
def test_no_data_is_at_risk_without_a_deletion(case: Case) -> None:
    first = case.world()
    for loop in play(first, case.black_out):
        for action in loop.todo.actions:
            if loop.after.accepted is None or loop.after.accepted.state == "deleting":
                assert case.after is None
                assert first.accepted is not None
                assert first.accepted.spec.deletion.policy == "delete"
                assert not first.accepted.spec.deletion.protected
                continue
            assert action.change is not ChangeClass.DATA_RISK, str(action)
            for write in action.writes if isinstance(action, WriteRecords) else ():
                _harmless(write)


def _harmless(write: Put | Remove) -> None:
    root = write.path.partition("/")[0]
    if isinstance(write, Remove):
        assert root in ("desired", "allocations", "accounts"), write
    elif root == "desired":
        assert InstanceDesired.model_validate_json(write.value).ensure != "absent", write


@EXAMPLES
@given(cases(), st.randoms(use_true_random=False))
def test_a_plan_depends_on_nothing_but_what_is_observed(case: Case, dice: Any) -> None:
    world = case.world()
    for loop in play(world, case.black_out):
        assert plan(loop.before) == loop.todo
        assert plan(_shuffled(loop.before, dice)) == loop.todo


def _shuffled(world: Observed, dice: Any) -> Observed:
    """Equal, with every mapping in another order."""
    mixed: dict[str, Any] = {}
    for field in fields(world):
        value = getattr(world, field.name)
        if isinstance(value, Mapping):
            items = list(value.items())
            dice.shuffle(items)
            mixed[field.name] = dict(items)
    return replace(world, **mixed)


@EXAMPLES
@given(cases())
def test_actions_of_one_frontier_do_not_meet(case: Case) -> None:
    """They are carried out side by side: two on one object would race, and the later would be refused."""
    for loop in play(case.world(), case.black_out):
        objects = Counter((action.kind, action.name) for action in loop.todo.actions)
        written = Counter(path for action in loop.todo.actions for path in _paths(action))

        assert not [one for one, times in (*objects.items(), *written.items()) if times > 1]


def _paths(action: Action) -> list[str]:
    match action:
        case WriteRecords():
            return [write.path for write in action.writes]
        case GenerateSecret():
            return [action.path]
    return []


@EXAMPLES
@given(cases(), st.integers(1, 100))
def test_whoever_sees_a_newer_epoch_only_says_so(case: Case, newer: int) -> None:
    world = case.world()
    marked = fence.newest_epoch(world)
    if marked == 0:
        return
    todo = plan(replace(world, epoch=marked - newer))

    assert [action.kind for action in todo.actions] == ["halt"]
