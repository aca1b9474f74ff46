"""Tuned defaults: they fit into the memory they were made for, at any size, and Postgres accepts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crds.parameters import check_parameters, owned_because, size_bytes
from reconcilers.resources.tuning import MIB, shm_bytes, tuned

memories = st.integers(min_value=128 * MIB, max_value=64 * 1024 * MIB)
cpus = st.one_of(st.integers(1, 256), st.sampled_from([0.01, 0.5, 0.999, 1.5]))


@pytest.mark.parametrize(
    ("memory_mib", "shared_buffers", "max_connections", "work_mem", "maintenance_work_mem"),
    [
        pytest.param(256, "64MB", "36", "1820kB", "16MB", id="256 MiB"),
        pytest.param(1024, "256MB", "84", "3120kB", "64MB", id="1 GiB"),
        pytest.param(8192, "2048MB", "500", "4194kB", "512MB", id="8 GiB"),
        pytest.param(65536, "16384MB", "500", "33554kB", "2048MB", id="64 GiB"),
    ],
)
def test_known_sizes(
    memory_mib: int, shared_buffers: str, max_connections: str, work_mem: str, maintenance_work_mem: str
) -> None:
    got = tuned(memory_mib * MIB, 4, 3)

    assert got["shared_buffers"] == shared_buffers
    assert got["max_connections"] == max_connections
    assert got["work_mem"] == work_mem
    assert got["maintenance_work_mem"] == maintenance_work_mem


@given(memories, cpus)
def test_the_parts_fit_into_the_whole(memory: int, cpu: float) -> None:
    got = tuned(memory, cpu, 3)

    def size(name: str) -> int:
        value = size_bytes(name, got[name])
        assert value is not None
        return value

    connections = int(got["max_connections"])
    vacuum = int(got["autovacuum_max_workers"]) * size("autovacuum_work_mem")
    sum_ = size("shared_buffers") + size("wal_buffers") + connections * size("work_mem") + vacuum
    assert sum_ + size("maintenance_work_mem") <= memory * 3 // 4
    assert size("shared_buffers") < size("effective_cache_size") < memory
    assert size("min_wal_size") < size("max_wal_size")


@given(memories, memories, cpus)
def test_more_memory_never_gives_less(one: int, other: int, cpu: float) -> None:
    small, large = (tuned(memory, cpu, 1) for memory in sorted((one, other)))

    for name in ("shared_buffers", "effective_cache_size", "maintenance_work_mem", "autovacuum_work_mem"):
        less, more = size_bytes(name, small[name]), size_bytes(name, large[name])
        assert less is not None
        assert more is not None
        assert less <= more
    assert int(small["max_connections"]) <= int(large["max_connections"])
    assert shm_bytes(min(one, other)) <= shm_bytes(max(one, other))


@given(memories, cpus, st.integers(1, 16))
def test_every_default_is_one_a_user_could_have_written(memory: int, cpu: float, instances: int) -> None:
    got = tuned(memory, cpu, instances)

    assert check_parameters(got) == got
    assert not [name for name in got if owned_because(name)]


@given(memories, cpus, st.integers(1, 16))
def test_every_replica_has_a_sender_a_slot_and_workers_to_spare(
    memory: int, cpu: float, instances: int
) -> None:
    got = tuned(memory, cpu, instances)

    assert int(got["max_wal_senders"]) >= 2 * instances
    assert int(got["max_replication_slots"]) >= 2 * instances
    assert int(got["max_parallel_workers_per_gather"]) <= int(got["max_parallel_workers"])
    assert int(got["max_parallel_workers"]) < int(got["max_worker_processes"])


@given(memories)
def test_shared_memory_is_never_less_than_dockers_and_never_more_than_half(memory: int) -> None:
    assert 64 * MIB <= shm_bytes(memory) <= memory // 2


def test_below_two_processors_nothing_runs_in_parallel() -> None:
    assert tuned(512 * MIB, 0.5, 1)["max_parallel_workers_per_gather"] == "0"
    assert tuned(512 * MIB, 2, 1)["max_parallel_workers_per_gather"] == "1"
