"""Docker's JSON to the port's values, where it is not what one would think."""

from __future__ import annotations

import pytest

from controlplane.orchestrators import readings


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.9"}], "172.17.0.9", id="said"),
        pytest.param([{"Subnet": "172.17.0.0/16"}], "172.17.0.1", id="left out: the first address"),
        pytest.param([{"Subnet": "fd00::/64"}, {"Subnet": "10.1.0.0/24"}], "10.1.0.1", id="IPv4 wanted"),
        pytest.param([], "", id="no bridge"),
        pytest.param(None, "", id="null"),
    ],
)
def test_the_hosts_address_on_its_bridge(config: list[dict[str, str]] | None, expected: str) -> None:
    assert readings.bridge_gateway({"IPAM": {"Config": config}}) == expected


def test_a_host_without_a_bridge_has_no_gateway() -> None:
    assert readings.bridge_gateway(None) == ""


def test_a_null_is_as_good_as_nothing() -> None:
    network = readings.network({"Id": "n", "Name": "x", "Labels": None, "IPAM": {"Config": None}})

    assert (network.labels, network.subnets) == ({}, ())


@pytest.mark.parametrize("state", ["exited", "dead", "created", "removing"])
def test_what_does_not_run_is_not_inspected(state: str) -> None:
    assert not readings.runs({"State": state})
    assert readings.container({"Id": "c", "State": state}, None).state == state


def test_a_drained_node_that_is_down_is_neither_ready_nor_active() -> None:
    node = readings.node({"ID": "n", "Spec": {"Availability": "drain"}, "Status": {"State": "down"}})

    assert (node.ready, node.active, node.manager) == (False, False, False)


def test_the_frames_of_a_log_are_put_together() -> None:
    def frame(kind: int, text: str) -> bytes:
        return bytes([kind, 0, 0, 0]) + len(text.encode()).to_bytes(4, "big") + text.encode()

    stream = frame(1, "one\ntw") + frame(1, "o\n") + frame(2, "drei ü\n")

    assert readings.log(stream) == ("one", "two", "drei ü")
    assert readings.log(stream + frame(1, "cut")[:5]) == ("one", "two", "drei ü")
    assert readings.log(b"") == ()
