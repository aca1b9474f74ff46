"""Postgres parameters: what is not the user's is refused with the reason, what Postgres would refuse too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crds.parameters import NAME, check_parameters, owned_because, size_bytes


@pytest.mark.parametrize(
    "name",
    [
        "listen_addresses",
        "port",
        "cluster_name",
        "wal_level",
        "hot_standby",
        "ssl",
        "ssl_cert_file",
        "hba_file",
        "data_directory",
        "archive_mode",
        "archive_command",
        "restore_command",
        "recovery_target_time",
        "primary_conninfo",
        "fsync",
        "synchronous_standby_names",
        "wal_log_hints",
        "password_encryption",
        "pgswarm.fence",
    ],
)
def test_a_parameter_of_patroni_or_pgswarm_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(
        ValueError,
        match=f"{name} is not yours to set: {owned_because(name)}".replace("(", r"\(").replace(")", r"\)"),
    ):
        check_parameters({name: "x"})


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ({"max_connections": 120}, {"max_connections": "120"}),
        ({"work_mem": "8MB"}, {"work_mem": "8MB"}),
        ({"jit": False, "track_io_timing": True}, {"jit": "off", "track_io_timing": "on"}),
        ({"checkpoint_completion_target": 0.9}, {"checkpoint_completion_target": "0.9"}),
        ({"pg_stat_statements.max": 5000}, {"pg_stat_statements.max": "5000"}),
        ({"search_path": "app, public"}, {"search_path": "app, public"}),
        ({"autovacuum_work_mem": -1}, {"autovacuum_work_mem": "-1"}),
    ],
)
def test_values_become_text_as_postgresql_conf_has_it(
    given_: dict[str, object], kept: dict[str, str]
) -> None:
    assert check_parameters(given_) == kept


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("work_mem", "8XB", "not an amount of memory"),
        ("work_mem", "8mb", "not an amount of memory"),
        ("work_mem", "1kB", "below what Postgres accepts"),
        ("shared_buffers", "lots", "not an amount of memory"),
        ("max_connections", "many", "give 10 to 10000"),
        ("max_connections", 1, "give 10 to 10000"),
        ("max_connections", 99999, "give 10 to 10000"),
        ("statement_timeout", "5 parsecs", "not a time"),
        ("work_mem", ["8MB"], "not a single value"),
        ("work_mem", None, "not a single value"),
        ("Work_Mem", "8MB", "cannot be a parameter"),
        ("a.b.c", "1", "cannot be a parameter"),
        ("x\ny", "1", "cannot be a parameter"),
        ("search_path", "a\nlisten_addresses = '*'", "control character"),
        ("search_path", "x" * 3000, "too long"),
    ],
)
def test_what_postgres_would_refuse_at_start_is_refused_here(name: str, value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_parameters({name: value})


@pytest.mark.parametrize(
    ("name", "value", "size"),
    [
        ("shared_buffers", "128MB", 128 * 1024**2),
        ("shared_buffers", "16384", 128 * 1024**2),
        ("shared_buffers", "1.5GB", 1536 * 1024**2),
        ("work_mem", "4096", 4 * 1024**2),
        ("max_wal_size", "1024", 1024**3),
        ("shared_buffers", "", None),
        ("search_path", "1MB", None),
    ],
)
def test_memory_is_counted_in_the_parameters_own_unit(name: str, value: str, size: int | None) -> None:
    assert size_bytes(name, value) == size


@given(
    st.dictionaries(
        st.text(max_size=12), st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.booleans())
    )
)
def test_what_is_accepted_is_a_name_and_one_printable_line(raw: dict[str, object]) -> None:
    try:
        kept = check_parameters(raw)
    except ValueError:
        return
    for name, value in kept.items():
        assert NAME.fullmatch(name)
        assert owned_because(name) is None
        assert "\n" not in value
        assert "\0" not in value
