"""Quantities: read with their unit, refused without, written in one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from crds.units import MIB, Cpus, Duration, Memory, PublishedPort


@pytest.mark.parametrize(
    ("said", "mib", "written"),
    [
        ("512MiB", 512, "512MiB"),
        ("2GiB", 2048, "2GiB"),
        ("2048MiB", 2048, "2GiB"),
        ("1Ti", 1048576, "1TiB"),
        ("1Gi", 1024, "1GiB"),
    ],
)
def test_memory_is_read_and_written_in_its_largest_whole_unit(said: str, mib: int, written: str) -> None:
    memory = Memory.parse(said)

    assert (memory.bytes, memory.mib, str(memory)) == (mib * MIB, mib, written)


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        (512, "write 512MiB"),
        ("512", "write 512MiB"),
        ("512MB", "write 512MiB"),
        ("1G", "write 1GiB"),
        ("2g", "write 2GiB"),
        ("1.5GiB", "1536MiB"),
        ("0MiB", "next smaller unit"),
        ("-1MiB", "512MiB"),
        ("lots", "512MiB"),
        ("512MiB\n", "512MiB"),
        ("\u0665MiB", "512MiB"),
        (True, "512MiB"),
        (None, "512MiB"),
    ],
)
def test_memory_without_a_clear_unit_is_refused_with_what_to_write(said: object, fix: str) -> None:
    with pytest.raises(ValueError, match=fix):
        Memory.parse(said)


@pytest.mark.parametrize(
    ("said", "nanos", "written"),
    [
        ("0.5", 500_000_000, "0.5"),
        (2, 2_000_000_000, "2"),
        (0.25, 250_000_000, "0.25"),
        ("1.50", 1_500_000_000, "1.5"),
    ],
)
def test_cpus_are_read_and_written_as_a_plain_number(said: object, nanos: int, written: str) -> None:
    assert (Cpus.parse(said).nanos, str(Cpus.parse(said))) == (nanos, written)


@pytest.mark.parametrize(
    "said", ["500m", "0", 0, "0.001", "1025", "-1", "half", "0.5555", True, None, "1e3", "1\n"]
)
def test_cpus_out_of_range_or_of_form_are_refused(said: object) -> None:
    with pytest.raises(ValueError, match=r"cpus"):
        Cpus.parse(said)


def test_thousandths_of_a_cpu_are_refused_with_the_number_they_mean() -> None:
    with pytest.raises(ValueError, match=r'write "0\.25"'):
        Cpus.parse("250m")


@pytest.mark.parametrize(
    ("said", "seconds", "written"),
    [
        ("20s", 20, "20s"),
        ("5m", 300, "5m"),
        ("90s", 90, "90s"),
        ("120s", 120, "2m"),
        ("1h", 3600, "1h"),
        ("0s", 0, "0s"),
    ],
)
def test_durations_are_read_and_written(said: str, seconds: int, written: str) -> None:
    assert (Duration.parse(said).seconds, str(Duration.parse(said))) == (seconds, written)


@pytest.mark.parametrize("said", [20, "20", "1.5s", "5 min", "-5s", "1d", "", None, "5s\n"])
def test_a_duration_without_its_unit_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match="unit s, m or h"):
        Duration.parse(said)


@pytest.mark.parametrize("said", [80, 1023, 65536, 2379, 7432, "6432", True, 6432.0, "AUTO"])
def test_a_port_that_cannot_be_published_is_refused(said: object) -> None:
    with pytest.raises(ValidationError, match="port"):
        TypeAdapter(PublishedPort).validate_python(said)


@pytest.mark.parametrize("said", [None, "auto", 1024, 6432, 65535])
def test_a_port_that_can_be_published_stays_as_it_is(said: object) -> None:
    assert TypeAdapter(PublishedPort).validate_python(said) == said


@given(st.integers(min_value=1, max_value=10**6))
def test_every_quantity_survives_being_written_and_read(number: int) -> None:
    memory, cpus, duration = Memory(number * MIB), Cpus(10 + number % 1_000_000), Duration(number)

    assert Memory.parse(str(memory)) == memory
    assert Cpus.parse(str(cpus)) == cpus
    assert Duration.parse(str(duration)) == duration


@given(st.one_of(st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.none()))
def test_parsers_raise_nothing_but_their_own_refusal(said: object) -> None:
    for unit in (Memory, Cpus, Duration):
        try:
            unit.parse(said)
        except PydanticCustomError as exc:
            refusal = exc.message()
        else:
            continue
        assert "write" in refusal or "use" in refusal or "give" in refusal
