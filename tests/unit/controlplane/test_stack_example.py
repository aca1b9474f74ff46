"""examples/stack.yaml, alone and with stack-tls.yaml over it: what it sets is what pgswarm reads, and is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.config import Config, load
from controlplane.settings import variable_name

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
ALONE, WITH_TLS = ("stack.yaml",), ("stack.yaml", "stack-tls.yaml")
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*)|:\?[^}]*)?\}")
SITE = {ALONE: "http://10.0.0.1:2379,http://10.0.0.2:2379", WITH_TLS: "https://10.0.0.1:2379"}


def merged(names: tuple[str, ...], **site: str) -> dict[str, Any]:
    """As `docker stack deploy` does it with several -c: mappings key by key, lists one after the other."""
    found: dict[str, Any] = {}
    for name in names:
        text = (EXAMPLES / name).read_text()
        filled = VARIABLE.sub(lambda match: site.get(match["name"], match["default"] or ""), text)
        found = _over(found, yaml.safe_load(filled))
    return found


def _over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {name: _over(below.get(name), value) for name, value in above.items()}
    return below + above if isinstance(below, list) and isinstance(above, list) else above


def environment(names: tuple[str, ...]) -> dict[str, str]:
    stack = merged(names, PGSWARM_ETCD_ENDPOINTS=SITE[names])
    return {**stack["services"]["pgswarm"]["environment"], "PGSWARM_HOST": "host-1"}


def mounted(stack: dict[str, Any]) -> set[str]:
    service = stack["services"]["pgswarm"]
    return {f"/run/secrets/{one['target']}" for one in service["secrets"]} | {
        one["target"] for one in service.get("configs", ())
    }


@pytest.mark.parametrize("names", [ALONE, WITH_TLS], ids=len)
def test_pgswarm_takes_the_settings(names: tuple[str, ...]) -> None:
    given = environment(names)
    config = load(None, given, {})

    assert given.keys() <= {variable_name(attribute) for attribute in Config.model_fields}
    assert config.instance_etcd_secure() == (names == WITH_TLS)


@pytest.mark.parametrize("names", [ALONE, WITH_TLS], ids=len)
def test_every_file_that_is_named_is_mounted_and_no_other(names: tuple[str, ...]) -> None:
    files = {value for value in environment(names).values() if value.startswith(("/run/secrets/", "/etc/"))}

    assert files == mounted(merged(names))


@pytest.mark.parametrize("names", [ALONE, WITH_TLS], ids=len)
def test_every_object_that_is_used_is_declared_and_named_at_the_head(names: tuple[str, ...]) -> None:
    stack = merged(names)
    head = "".join((EXAMPLES / name).read_text().partition("version:")[0] for name in names)
    for kind in ("secrets", "configs"):
        used = {one["source"] for one in stack["services"]["pgswarm"].get(kind, ())}
        assert used == set(stack.get(kind, {}))
        assert all(f"docker {kind[:-1]} create {name} " in head for name in used)


def test_keys_are_secrets_and_for_their_reader_alone() -> None:
    stack = merged(WITH_TLS)
    service = stack["services"]["pgswarm"]
    keys = {
        value
        for name, value in service["environment"].items()
        if re.search("_(KEY|KEY_FILE|PASSWORD_FILE)$", name)
    }

    assert keys == {f"/run/secrets/{one['target']}" for one in service["secrets"]}
    assert {one["mode"] for one in service["secrets"]} == {0o400}


def test_instances_and_pgswarm_have_certificates_of_their_own() -> None:
    config = load(None, environment(WITH_TLS), {})

    assert config.etcd_ca is not None
    assert None not in (config.etcd_cert, *config.instance_etcd_identity())
    assert (config.etcd_cert, config.etcd_key) != config.instance_etcd_identity()


def test_new_certificates_have_new_names() -> None:
    stack = merged(WITH_TLS, PGSWARM_TLS_SUFFIX="_2030")
    tls = [one for kind in ("secrets", "configs") for one in stack[kind].values() if "name" in one]

    assert len(tls) == 5
    assert all(one["name"].endswith("_2030") for one in tls)
