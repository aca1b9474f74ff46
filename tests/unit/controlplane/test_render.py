"""What people see: goldens of the plain form, the psql line, and nothing that moves a terminal's cursor."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from controlplane import render
from controlplane.api import views
from controlplane.api.schemas import DatabaseView, Event
from controlplane.layout import Line, Span, folded, human_age, human_bytes, plain_text, table
from controlplane.terminal import STYLES, show
from crds.status import DatabaseStatus
from tests.unit.controlplane import shown
from tests.unit.controlplane.test_views import filled

GOLDEN = Path(__file__).parents[2] / "golden" / "cli"


def view(*, ready: bool = True) -> DatabaseView:
    found = views.database(filled(), "orders")
    assert found is not None
    return found.model_copy(update={"status": shown.positioned(shown.status(ready=ready))})


def refused() -> DatabaseView:
    """Ready by the spec at revision 2, and the one at revision 9 is wrong in two places."""
    found = view()
    status = shown.refused(found.status, 9, "line 8, port: 99999 is no port | line 9, roels: no such field")
    metadata = found.metadata.model_copy(update={"revision": 9})
    return found.model_copy(update={"status": status, "metadata": metadata})


def compare(name: str, lines: list[Line]) -> None:
    """With PGSWARM_GOLDEN=write the file is written anew; look at its diff before it is committed."""
    file, text = GOLDEN / name, plain_text(lines)
    if os.environ.get("PGSWARM_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


def test_status_of_a_ready_database() -> None:
    compare("status-ready.txt", render.status(view(), shown.NOW_S))


def test_status_of_a_degraded_database() -> None:
    compare("status-degraded.txt", render.status(view(ready=False), shown.NOW_S))


def test_status_after_a_spec_was_refused_says_so_first() -> None:
    compare("status-refused.txt", render.status(refused(), shown.NOW_S))
    first, *_ = plain_text(render.status(refused(), shown.NOW_S)).splitlines()

    assert first == (
        "The newest spec, revision 9, is refused; the last accepted one, revision 2, stays in force:"
    )


def test_a_refused_spec_with_none_before_it_promises_nothing() -> None:
    nothing = refused().model_copy(update={"accepted_revision": 0, "spec": None, "state": ""})
    text = plain_text(render.status(nothing, shown.NOW_S))

    assert text.startswith("The newest spec, revision 9, is refused; none was accepted before:\n")
    assert "in force" not in text.split("Conditions")[0]


def test_in_the_list_a_refused_spec_is_what_the_database_waits_for() -> None:
    text = plain_text(render.database_table([refused()]))

    assert text.rstrip().endswith("a valid spec: the newest is refused")


@pytest.mark.parametrize(
    ("ends", "words", "style"),
    [
        ("2029-02-24T11:00:00Z", "2029-02-24 (in 823d23h)", ""),
        ("2026-12-23T11:59:59Z", "2026-12-23 (in 29d23h)", "warn"),
        ("2026-11-23T12:00:00Z", "2026-11-23 (over)", "bad"),
        ("", "?", ""),
    ],
)
def test_the_end_of_a_certificate_stands_out_when_it_is_near(ends: str, words: str, style: str) -> None:
    found = view()
    (node,) = found.status.nodes
    one = node.instances[0].model_copy(update={"certificate_expires": ends})
    nodes = (node.model_copy(update={"instances": (one,)}),)
    lines = render.status(
        found.model_copy(update={"status": found.status.model_copy(update={"nodes": nodes})}), shown.NOW_S
    )
    row = next(line for line in lines if any(part.text.strip() == one.volume for part in line))

    assert (words, style) in [(part.text.strip(), part.style) for part in row]


def test_status_of_a_database_nobody_has_looked_at() -> None:
    new = DatabaseView.model_validate({"metadata": {"name": "orders", "revision": 7}})

    compare("status-new.txt", render.status(new, shown.NOW_S))


def test_tables() -> None:
    hosts = views.hosts(filled()).items

    compare("get.txt", render.database_table([view(), view(ready=False)]))
    compare("get-hosts.txt", render.host_table(hosts))


def test_ready_judged_from_an_older_spec_is_not_shown_as_ready() -> None:
    old = view()
    old = old.model_copy(update={"metadata": old.metadata.model_copy(update={"revision": 9})})
    text = plain_text(render.status(old, shown.NOW_S))

    assert "Phase         Pending" in text
    assert "revision 9, not looked at yet (last: 2)" in text
    assert render.why_not(old) == "a controller to look at the spec"


def test_the_psql_line_names_the_primary_first_and_asks_for_it() -> None:
    assert render.psql_line(view()) == (
        'psql "postgresql://app@10.0.0.1:6432,10.0.0.2:6432/orders?target_session_attrs=read-write"'
    )


def test_the_psql_line_can_be_for_another_role_and_brackets_ipv6() -> None:
    found = view()
    status = found.status.model_dump() | {"endpoints": [{"host": "fd00::1", "port": 6432, "role": "primary"}]}
    found = found.model_copy(update={"status": DatabaseStatus.model_validate(status)})

    assert render.psql_line(found, "reports") == (
        'psql "postgresql://reports@[fd00::1]:6432/orders?target_session_attrs=read-write"'
    )


@pytest.mark.parametrize("host", ["$(id)", '"; id; "', "a`id`", "a b", ""])
def test_an_address_that_a_shell_would_read_otherwise_is_in_no_line_to_paste(host: str) -> None:
    found = view()
    ends = [{"host": host, "port": 1, "role": "primary"}, {"host": "h", "port": 2, "role": "replica"}]
    status = DatabaseStatus.model_validate(found.status.model_dump() | {"endpoints": ends})

    line = render.psql_line(found.model_copy(update={"status": status}))
    assert line == 'psql "postgresql://app@h:2/orders?target_session_attrs=read-write"'


def test_without_a_published_port_there_is_no_psql_line() -> None:
    found = view().model_copy(update={"status": DatabaseStatus()})

    assert render.psql_line(found) is None


def test_control_characters_of_others_do_not_reach_the_terminal() -> None:
    evil = "\x1b[2Jgone\r\n\x07\u202eabc"
    found = view().model_copy(update={"events": (Event(reason=evil, message=evil),)})
    out = io.StringIO()

    show(render.status(found, shown.NOW_S), out)

    assert not set("\x1b\r\x07\u202e") & set(out.getvalue())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_on_a_terminal_only() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    show([(Span("fine", "ok"),)], terminal)
    show([(Span("fine", "ok"),)], pipe)

    assert "fine" in terminal.getvalue()
    assert pipe.getvalue() == "fine\n"


def test_every_style_that_is_used_has_a_colour() -> None:
    lines = [*render.status(view(ready=False), shown.NOW_S), *render.status(view(), shown.NOW_S)]

    assert {part.style for line in lines for part in line} <= STYLES.keys()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (17_000_000, "16.2 MiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_bytes(count: int | None, expected: str) -> None:
    assert human_bytes(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0s"), (59.9, "59s"), (60, "1m00s"), (192, "3m12s"), (18_120, "5h02m"), (1_051_200, "12d04h")],
)
def test_ages(seconds: float, expected: str) -> None:
    assert human_age(seconds) == expected


def test_columns_line_up_and_no_line_ends_in_spaces() -> None:
    text = plain_text(table(("A", "LONG"), [("x", ""), ("longer", "y")], indent=""))

    assert text == "A       LONG\nx\nlonger  y\n"


@pytest.mark.parametrize("width", [40, 80, 111, 200])
def test_on_a_narrow_terminal_rows_are_broken_between_columns_and_nothing_is_lost(width: int) -> None:
    lines = render.status(view(ready=False), shown.NOW_S)
    rows = [folded(line, width) for line in lines]
    whole = {part.text.rstrip() for line in lines for part in line if len(part.text.rstrip()) + 8 > width}

    for line, parts in zip(lines, rows, strict=True):
        assert plain_text([line]).split() == plain_text(parts).split()
    for text in plain_text(row for parts in rows for row in parts).splitlines():
        assert len(text) <= width or any(one in text for one in whole), text


def test_titles_are_broken_where_the_rows_are() -> None:
    lines = table(("NAME", "HOST", "STATE"), [("orders-n1", "host-1", "running"), ("x", "y", "z")])
    text = plain_text(row for line in lines for row in folded(line, 20))
    short = table(("A", "B", "C"), [("a" * 9, "b" * 9, "c")])

    assert text.splitlines() == [
        *("  NAME       HOST", "        STATE"),
        *("  orders-n1  host-1", "        running"),
        *("  x          y", "        z"),
    ]
    assert [len(folded(line, 15)) for line in short] == [2, 2]


def test_a_terminal_without_colours_is_folded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    out = Terminal()
    show(table(("A" * 12, "B" * 12), []), out)

    assert out.getvalue() == f"  {'A' * 12}\n        {'B' * 12}\n"
