"""Kind Database: every rule of a spec has its sentence and its place, and what is right is left alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from crds.database import Database, DatabaseStatus, check_against_hosts
from crds.problems import SpecProblem
from tests.unit.crds.specs import minimal, problems, read

SCRAM = "SCRAM-SHA-256$4096:" + "A" * 22 + "==$" + "B" * 43 + "=:" + "C" * 43 + "="


def node(*hosts: str, name: str = "n1") -> dict[str, Any]:
    return {"name": name, "hosts": list(hosts)}


def test_a_minimal_spec_has_every_default() -> None:
    spec = read(minimal()).spec

    assert (spec.port, spec.paused, spec.postgres.major) == (None, False, 17)
    assert (str(spec.resources.cpus), str(spec.resources.memory)) == ("1", "512MiB")
    assert (spec.deletion.policy, spec.deletion.protected) == ("retain", False)
    assert (spec.patroni.ttl.seconds, spec.patroni.loop_wait.seconds, spec.patroni.retry_timeout.seconds) == (
        20,
        5,
        5,
    )


@pytest.mark.parametrize(
    ("spec", "path", "sentence"),
    [
        pytest.param({"nodes": []}, "spec.nodes", "no node is listed", id="no node"),
        pytest.param({"nodes": [node()]}, "spec.nodes[0].hosts", "no host is listed", id="no host"),
        pytest.param(
            {"nodes": [node("a", "b", "a")]},
            "spec.nodes[0].hosts[2]",
            "host a is given twice",
            id="host twice",
        ),
        pytest.param(
            {"nodes": [node("a", name="primary")]}, "spec.nodes[0].name", "called n1, n2", id="node name"
        ),
        pytest.param(
            {"nodes": [node("Host_1")]}, "spec.nodes[0].hosts[0]", "cannot be a host", id="host name"
        ),
        pytest.param(
            {"nodes": [node("a"), node("b", name="n2")]},
            "spec.nodes[1]",
            "multi-active replication, which is not yet available",
            id="two nodes",
        ),
        pytest.param(
            {"nodes": [node("a"), node("b", "a", name="n2")]},
            "spec.nodes[1].hosts[1]",
            "host a is already in node n1",
            id="host in two nodes",
        ),
        pytest.param(
            {"nodes": [node("a"), node("b")]}, "spec.nodes[1].name", "node n1 is given twice", id="node twice"
        ),
        pytest.param(
            {"postgres": {"version": 14}},
            "spec.postgres.version",
            "not a version of Postgres",
            id="old version",
        ),
        pytest.param(
            {"postgres": {"version": 17.1}}, "spec.postgres.version", "in quotes", id="version as number"
        ),
        pytest.param(
            {"postgres": {"version": "17", "flavour": "x"}},
            "spec.postgres.flavour",
            "'pgswarm' or 'spock'",
            id="flavour",
        ),
        pytest.param(
            {"postgres": {"version": "17", "flavour": "spock"}},
            "spec.postgres.flavour",
            "images of flavour spock cannot be run yet",
            id="flavour that cannot run",
        ),
        pytest.param(
            {"postgres": {"version": "17", "image": "{{.x}}"}},
            "spec.postgres.image",
            "not an image",
            id="image",
        ),
        pytest.param({"port": 80}, "spec.port", "give 1024 to 65535", id="low port"),
        pytest.param({"port": 2377}, "spec.port", "belongs to Swarm", id="port of Swarm"),
        pytest.param({"port": "6432"}, "spec.port", "without quotes", id="port as text"),
        pytest.param(
            {"resources": {"memory": 512}}, "spec.resources.memory", "write 512MiB", id="memory without unit"
        ),
        pytest.param(
            {"resources": {"memory": "64MiB"}},
            "spec.resources.memory",
            "give at least 128MiB",
            id="too little memory",
        ),
        pytest.param(
            {"resources": {"cpus": 0}}, "spec.resources.cpus", "between 0.01 and 1024", id="no cpus"
        ),
        pytest.param(
            {
                "postgres": {"version": "17", "parameters": {"shared_buffers": "1GB"}},
                "resources": {"memory": "1GiB"},
            },
            "spec.resources.memory",
            "memory 1GiB is too small for shared_buffers 1GB.*give at least 1707MiB",
            id="memory too small for shared_buffers",
        ),
        pytest.param(
            {"nodes": [node("a") | {"parameters": {"shared_buffers": 65536}}]},
            "spec.resources.memory",
            "too small for shared_buffers 65536",
            id="the node's shared_buffers, default memory",
        ),
        pytest.param(
            {"postgres": {"version": "17", "parameters": {"wokr_mem": "64MB"}}},
            "spec.postgres.parameters.wokr_mem",
            "Postgres 17 has no parameter wokr_mem.*did you mean work_mem",
            id="no such parameter",
        ),
        pytest.param(
            {"postgres": {"version": "15", "parameters": {"transaction_timeout": "1s"}}},
            "spec.postgres.parameters.transaction_timeout",
            "Postgres 15 has no parameter transaction_timeout",
            id="a parameter of a later version",
        ),
        pytest.param(
            {"nodes": [node("a") | {"parameters": {"io_method": "worker"}}]},
            "spec.nodes[0].parameters.io_method",
            "Postgres 17 has no parameter io_method",
            id="the node's parameter of a later version",
        ),
        pytest.param(
            {"patroni": {"ttl": "19s"}}, "spec.patroni.ttl", "give 20s to 1h", id="ttl below Patroni's"
        ),
        pytest.param(
            {"patroni": {"retryTimeout": "2s"}},
            "spec.patroni.retryTimeout",
            "give 3s to 1h",
            id="retry below",
        ),
        pytest.param(
            {"patroni": {"loopWait": "0s"}}, "spec.patroni.loopWait", "give 1s to 1h", id="loop below"
        ),
        pytest.param(
            {"patroni": {"ttl": "30s", "loopWait": "10s", "retryTimeout": "11s"}},
            "spec.patroni.retryTimeout",
            "is 32s, more than the ttl of 30s.*raise ttl to 32s",
            id="ttl too short for the retries",
        ),
        pytest.param(
            {"patroni": {"synchronous": True}},
            "spec.patroni.synchronous",
            "'off', 'on' or 'strict'",
            id="synchronous",
        ),
        pytest.param(
            {"patroni": {"maximumLagOnFailover": -1}},
            "spec.patroni.maximumLagOnFailover",
            "greater",
            id="lag",
        ),
        pytest.param(
            {"deletion": {"policy": "keep"}}, "spec.deletion.policy", "'retain' or 'delete'", id="policy"
        ),
        pytest.param({"paused": "no"}, "spec.paused", "write true or false", id="a word for a boolean"),
        pytest.param(
            {"roles": [{"name": "postgres"}]}, "spec.roles[0].name", "reserved role", id="reserved role"
        ),
        pytest.param(
            {"roles": [{"name": "a"}, {"name": "a"}]}, "spec.roles[1].name", "given twice", id="role twice"
        ),
        pytest.param(
            {"roles": [{"name": "a", "memberOf": ["b"]}]},
            "spec.roles[0].memberOf[0]",
            "not a role",
            id="stranger",
        ),
        pytest.param(
            {"roles": [{"name": "a", "memberOf": ["a"]}]},
            "spec.roles[0].memberOf[0]",
            "of itself",
            id="itself",
        ),
        pytest.param(
            {"roles": [{"name": "a", "memberOf": ["b"]}, {"name": "b", "memberOf": ["a"]}]},
            "spec.roles[0].memberOf",
            "through others",
            id="circle",
        ),
        pytest.param(
            {"roles": [{"name": "a", "memberOf": ["pg_read_server_files"]}]},
            "spec.roles[0].memberOf[0]",
            "not a role",
            id="a predefined role that reaches files",
        ),
        pytest.param(
            {"roles": [{"name": "a", "memberOf": ["pg_signal_autovacuum_worker"]}]},
            "spec.roles[0].memberOf[0]",
            "from Postgres 18 on",
            id="a predefined role of a later major",
        ),
        pytest.param(
            {"roles": [{"name": "a", "validUntil": "2030-01-01"}]},
            "spec.roles[0].validUntil",
            "with its zone",
            id="no zone",
        ),
        pytest.param(
            {"roles": [{"name": "a", "connectionLimit": "9"}]},
            "spec.roles[0].connectionLimit",
            "whole number",
            id="text",
        ),
        pytest.param(
            {"roles": [{"name": "a", "scram": "hunter2"}]},
            "spec.roles[0].scram",
            "not a SCRAM",
            id="not a verifier",
        ),
        pytest.param(
            {"roles": [{"name": "a", "comment": "x\ny"}]}, "spec.roles[0].comment", "one line", id="comment"
        ),
        pytest.param(
            {"roles": [{"name": "a", "scram": SCRAM, "secretRef": {"name": "x"}}]},
            "spec.roles[0]",
            "keep one of the two",
            id="two passwords",
        ),
        pytest.param(
            {"databases": [{"name": "postgres"}]},
            "spec.databases[0].name",
            "reserved database",
            id="reserved database",
        ),
        pytest.param(
            {"databases": [{"name": "a"}, {"name": "a"}]},
            "spec.databases[1].name",
            "given twice",
            id="database twice",
        ),
        pytest.param(
            {"databases": [{"name": "a", "owner": "b"}]},
            "spec.databases[0].owner",
            "declare it in spec.roles",
            id="owner",
        ),
        pytest.param(
            {"databases": [{"name": "a", "owner": "b"}], "roles": [{"name": "b", "ensure": "absent"}]},
            "spec.databases[0].owner",
            "is to be absent",
            id="absent owner",
        ),
        pytest.param(
            {"databases": [{"name": "a", "encoding": "utf8"}]},
            "spec.databases[0].encoding",
            "UTF8",
            id="encoding",
        ),
        pytest.param(
            {"databases": [{"name": "a", "locale": "x; y"}]},
            "spec.databases[0].locale",
            "not a locale",
            id="locale",
        ),
        pytest.param(
            {"databases": [{"name": "a", "extensions": ["A;"]}]},
            "spec.databases[0].extensions[0]",
            "CREATE EXT",
            id="ext",
        ),
        pytest.param(
            {"databases": [{"name": "a", "extensions": ["x", "x"]}]},
            "spec.databases[0].extensions[1]",
            "given twice",
            id="ext twice",
        ),
    ],
)
def test_a_rule_that_is_broken_is_named_with_its_field(
    spec: dict[str, Any], path: str, sentence: str
) -> None:
    found = problems(minimal(**spec))

    assert [p.path for p in found if re.search(sentence, str(p))] == [path], [str(p) for p in found]


@pytest.mark.parametrize("field", ["password", "passwordHash", "userPassword", "secret"])
def test_a_password_in_a_spec_is_refused_and_not_repeated(field: str) -> None:
    found = problems(minimal(roles=[{"name": "app", field: "hunter2"}]))

    assert [p.path for p in found] == [f"spec.roles[0].{field}"]
    assert "secretRef" in found[0].fix
    assert "hunter2" not in str(found)


def test_a_refused_value_is_in_no_message_of_the_model_either() -> None:
    with pytest.raises(ValidationError) as caught:
        Database.model_validate(minimal(roles=[{"name": "app", "scram": "hunter2"}]))

    assert "hunter2" not in str(caught.value)


def test_a_verifier_is_not_shown_by_repr() -> None:
    role = read(minimal(roles=[{"name": "app", "scram": SCRAM}])).spec.roles[0]

    assert role.scram == SCRAM
    assert SCRAM not in repr(role)


def test_all_problems_of_different_parts_are_reported_at_once() -> None:
    found = problems(
        minimal(
            port=1,
            paused="no",
            resources={"memory": 5},
            roles=[{"name": "public"}],
            databases=[{"name": "x", "owner": "y"}],
        )
    )

    assert {p.path for p in found} == {
        "spec.port",
        "spec.paused",
        "spec.resources.memory",
        "spec.roles[0].name",
    }


@pytest.mark.parametrize("version", ["15", "17", "17.10", 18])
def test_a_version_stays_text(version: object) -> None:
    assert read(minimal(postgres={"version": version})).spec.postgres.version == str(version)


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read(minimal()).spec.paused = True  # type: ignore[misc]


def test_unknown_hosts_and_taken_ports_are_named() -> None:
    spec = read(minimal(nodes=[node("host-1", "host-9")], port=6432)).spec
    taken = {("host-1", 6432): "sales", ("host-9", 6432): "orders"}

    found = check_against_hosts(spec, "orders", {"host-1", "host-2"}, taken)

    assert found == (
        SpecProblem(
            0,
            0,
            "spec.port",
            "port 6432 on host host-1 belongs to database sales",
            "give another port, or auto",
        ),
        SpecProblem(
            0, 0, "spec.nodes[0].hosts[1]", "host host-9 is not known", "known hosts: host-1, host-2"
        ),
    )


@pytest.mark.parametrize("port", [None, "auto", 6433])
def test_known_hosts_and_free_ports_are_no_problem(port: object) -> None:
    spec = read(minimal(port=port)).spec

    assert check_against_hosts(spec, "orders", ["host-1"], {("host-1", 6432): "sales"}) == ()


def test_a_status_can_be_built_from_nothing() -> None:
    status = DatabaseStatus()

    assert DatabaseStatus.model_validate_json(status.model_dump_json()) == status
    assert (status.phase, status.conditions, status.condition("Ready")) == ("Pending", (), None)


@pytest.mark.parametrize(
    "postgres",
    [
        {"version": "17", "parameters": {"timezone": "UTC", "auto_explain.log_min_duration": "1s"}},
        {"version": "18", "parameters": {"io_method": "worker"}},
        {"version": "17", "image": "ours/postgres:17", "parameters": {"ours": "1"}},
    ],
    ids=["an extension's", "its version's", "of an image of somebody else's"],
)
def test_what_a_version_or_an_extension_or_another_image_has_may_be_set(postgres: dict[str, Any]) -> None:
    assert read(minimal(postgres=postgres)).spec.postgres.parameters == postgres["parameters"]
