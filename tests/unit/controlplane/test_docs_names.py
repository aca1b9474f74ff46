"""What README, docs and examples tell people to type, to read or to open is there, under that name."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from controlplane import cli, render
from controlplane.api import openapi
from controlplane.config import Config, strangers
from controlplane.settings import variable_name
from controlplane.stores.keys import Keys
from crds.meta import Key
from reconcilers import paths
from reconcilers.database.report import STANDSTILL

REPO = Path(__file__).resolve().parents[3]
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "DECISIONS.md",
    *(f"docs/{page.name}" for page in REPO.glob("docs/*.md")),
)
EXAMPLES = tuple(f"examples/{file.name}" for file in REPO.glob("examples/*.yaml"))
TEXTS = {name: (REPO / name).read_text() for name in (*PAGES, *EXAMPLES)}
OF_THE_STACK = {"PGSWARM_IMAGE", "PGSWARM_TLS_SUFFIX"}
"""Variables that examples/stack.yaml asks for itself; pgswarm does not see them."""
REFUSED = {"PGSWARM_ETCD_PASSWORD"}
SETTINGS = {variable_name(name) for name in Config.model_fields} | {"PGSWARM_CONFIG", "PGSWARM_API"}
PACKAGES = r"(?:bench|clustertest|controlplane|crds|deploy|docs|examples|images|reconcilers|tests)"


def code(text: str) -> list[str]:
    """Lines of code blocks, and what stands between single backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", rest)


def calls(text: str) -> list[tuple[str, str]]:
    """(verb, rest of the call) of each `pgswarm VERB ...`."""
    found = (
        re.findall(r"(?:^ {0,4}|[(&|]\s*)pgswarm ([a-z][a-z-]*)([^|&;#)\n]*)", line) for line in code(text)
    )
    return [call for line in found for call in line]


@pytest.mark.parametrize("name", TEXTS)
def test_every_variable_that_is_named_is_read(name: str) -> None:
    found = set(re.findall(r"PGSWARM_[A-Z_]+", TEXTS[name]))

    assert found <= SETTINGS | OF_THE_STACK | REFUSED


@pytest.mark.parametrize("name", PAGES)
def test_every_call_of_pgswarm_has_a_verb_and_options_that_exist(name: str) -> None:
    context = click.Context(cli.main)
    for verb, rest in calls(TEXTS[name]):
        command = cli.main.get_command(context, verb)
        assert command is not None, f"pgswarm {verb}"
        known = {"-h", "--help"} | {flag for one in command.params for flag in one.opts}
        said = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest))
        assert said <= known, f"pgswarm {verb}{rest}"


def test_the_pages_do_call_pgswarm() -> None:
    """Red: the search above finds nothing any more, so it proves nothing."""
    verbs = {verb for text in TEXTS.values() for verb, _ in calls(text)}

    assert verbs >= {"run", "apply", "get", "status", "delete", "wait", "credentials", "resume"}


@pytest.mark.parametrize("name", PAGES)
def test_every_target_of_make_exists(name: str) -> None:
    rules = "".join((REPO / file).read_text() for file in ("Makefile", *_included()))
    known = set(re.findall(r"^([a-z-]+):", rules, re.MULTILINE))
    found = {
        word for line in code(TEXTS[name]) for word in re.findall(r"\bmake(?: -s)? ([a-z][a-z-]*)", line)
    }

    assert found <= known


def _included() -> list[str]:
    return re.findall(r"^include (\S+)", (REPO / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXTS[name]):
        assert (REPO / name).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("name", [*(page for page in PAGES if page != "DECISIONS.md"), *EXAMPLES])
def test_every_file_that_is_named_exists(name: str) -> None:
    """DECISIONS.md also names what is no more."""
    files = {
        str(path.relative_to(REPO))
        for top in ("controlplane", "reconcilers", "crds", "tests", "images")
        for path in (REPO / top).rglob("*.py")
    }
    for said in re.findall(r"[\w./]*\b\w+\.py\b", TEXTS[name]):
        assert any(f"/{file}".endswith(f"/{said.removeprefix('.../')}") for file in files), said
    for said in re.findall(rf"(?<![\w/.-]){PACKAGES}/[\w./-]*\w", TEXTS[name]):
        assert (REPO / said).exists(), said


def test_every_route_that_is_named_is_answered_and_every_one_is_named() -> None:
    known = set(openapi.document("0")["paths"])
    found = {
        re.sub(r"(/v1/\w+)/\w+", r"\1/{name}", route)
        for name in PAGES
        for route in re.findall(
            r"(?<![\w.])(/v1/[\w/{}]+|/livez|/readyz|/metrics|/openapi\.json)", TEXTS[name]
        )
    }

    assert found == known


def test_every_condition_is_on_its_page_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", TEXTS["docs/api.md"].partition("## Conditions")[2], re.MULTILINE)

    assert set(rows) == render.TOLD_ALWAYS | render.TOLD_WHEN_TRUE
    assert len(rows) == len(set(rows))


def test_what_keeps_pgswarm_from_acting_is_never_shown_as_good() -> None:
    assert set(STANDSTILL) <= render.GOOD_WHEN_FALSE


def test_the_key_in_the_readme_is_where_a_spec_lies() -> None:
    key = Keys(Config.model_fields["prefix"].default).key(paths.spec(Key("database", "hello")))
    said = re.findall(r"etcdctl put (\S+)", TEXTS["README.md"])

    assert [one.encode() for one in said] == [key]


def test_variables_of_our_own_tools_are_not_taken_for_misspelt_settings() -> None:
    tools = (
        "Makefile",
        "deploy",
        "clustertest",
        "images",
        "tests/etcd_server.py",
        "tests/dockerd.py",
        "bench",
    )
    files = [
        file
        for tool in tools
        for file in ([REPO / tool] if (REPO / tool).is_file() else (REPO / tool).rglob("*"))
    ]
    texts = (file.read_text(errors="replace") for file in files if file.is_file() and file.suffix != ".pyc")
    found = {name for text in texts for name in re.findall(r"PGSWARM_[A-Z_0-9]*[A-Z0-9]\b", text)}

    assert len(found) > 10
    assert strangers(dict.fromkeys(found, "")) == []
