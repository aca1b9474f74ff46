"""
Defaults for Postgres from what one instance may use. Integer arithmetic; what the user sets wins (`dcs.py`).

Memory is a hard limit here: beyond it the kernel kills. So the parts are shares of it that fit together: a
quarter for shared buffers, a quarter for all connections' `work_mem` at once, an eighth for vacuum and index
builds; the rest is for the processes and for the page cache, which counts towards the same limit.
"""

from __future__ import annotations

MIB = 1024 * 1024

_SHARED_BUFFERS_MAX = 16 * 1024 * MIB
"""More helps seldom and makes checkpoints and failover slower."""


def shm_bytes(memory_bytes: int) -> int:
    """
    Size of the tmpfs on /dev/shm: parallel queries keep their hash tables there.

    Docker gives 64 MiB whatever the instance's size, and a parallel hash join then fails. It is a limit, not
    a reservation, and what is in it counts towards the instance's memory.
    """
    return _clamp(memory_bytes // 4, 64 * MIB, 64 * 1024 * MIB)


def tuned(memory_bytes: int, cpus: float, instances: int) -> dict[str, str]:
    """
    Parameters for an instance, in Postgres' own units.

    Args:
        memory_bytes: The container's limit.
        cpus: The container's share of processors; below 1 is normal.
        instances: Instances of the node, this one included: each replica needs a WAL sender and a slot.
    """
    return {**_memory(memory_bytes), **_wal(memory_bytes), **_workers(cpus, instances), **_fixed()}


def _memory(memory: int) -> dict[str, str]:
    connections = _clamp(20 + memory // (16 * MIB), 25, 500)
    return {
        "max_connections": str(connections),
        "shared_buffers": _megabytes(_shared_buffers(memory)),
        "effective_cache_size": _megabytes(memory * 3 // 5),
        "work_mem": _kilobytes(_clamp(memory // 4 // connections, MIB, 64 * MIB)),
        "maintenance_work_mem": _megabytes(_clamp(memory // 16, 16 * MIB, 2048 * MIB)),
        "autovacuum_work_mem": _megabytes(_clamp(memory // 48, 4 * MIB, 1024 * MIB)),
    }


def _wal(memory: int) -> dict[str, str]:
    # The size of the volume is not known here, so WAL grows with the instance and stays bounded.
    most = _clamp(memory, 1024 * MIB, 16 * 1024 * MIB)
    return {
        "wal_buffers": _megabytes(_clamp(_shared_buffers(memory) // 32, MIB, 16 * MIB)),
        "max_wal_size": _megabytes(most),
        "min_wal_size": _megabytes(most // 4),
        "checkpoint_timeout": "10min",
        "checkpoint_completion_target": "0.9",
    }


def _workers(cpus: float, instances: int) -> dict[str, str]:
    whole = _clamp(int(cpus), 1, 256)
    # Below two processors a parallel plan only adds the cost of starting workers.
    gather = _clamp(whole // 2, 0, 4)
    senders = max(16, 2 * instances + 8)
    return {
        "max_worker_processes": str(12 + 2 * whole),
        "max_parallel_workers": str(whole),
        "max_parallel_workers_per_gather": str(gather),
        "max_parallel_maintenance_workers": str(gather),
        "autovacuum_max_workers": "3",
        "autovacuum_vacuum_cost_limit": str(_clamp(200 * whole, 400, 3000)),
        "max_wal_senders": str(senders),
        "max_replication_slots": str(senders),
    }


def _fixed() -> dict[str, str]:
    return {
        "random_page_cost": "1.1",
        "effective_io_concurrency": "64",
        "track_io_timing": "on",
        "log_lock_waits": "on",
        "log_temp_files": "10MB",
        "log_autovacuum_min_duration": "1min",
        # CREATE EXTENSION pg_stat_statements works without it, every query of its view does not.
        "shared_preload_libraries": "pg_stat_statements",
    }


def _shared_buffers(memory: int) -> int:
    return min(memory // 4, _SHARED_BUFFERS_MAX)


def _clamp(value: int, least: int, most: int) -> int:
    return max(least, min(value, most))


def _megabytes(size: int) -> str:
    return f"{size // MIB}MB"


def _kilobytes(size: int) -> str:
    return f"{size // 1024}kB"
