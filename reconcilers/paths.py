"""Where records lie, relative to pgswarm's prefix. Pure; `controlplane.stores.keys` maps paths to etcd keys."""

from __future__ import annotations

from crds.meta import Key

SPECS = "specs/"
ACCEPTED = "accepted/"
STATUS = "status/"
OWNERS = "owners/"
CONTROLLERS = "controllers/"
HOSTS = "hosts/"
DESIRED = "desired/"
OBSERVED = "observed/"
SECRETS = "secrets/"
EVENTS = "events/"
SUBNETS = "allocations/subnet/"
PORTS = "allocations/port/"
ACCOUNTS = "accounts/"
CONFIRMATIONS = "confirmations/"
HALTED = "halted/"
PATRONI = "patroni/"


def spec(key: Key) -> str:
    return f"{SPECS}{key.kind}/{key.name}"


def accepted(key: Key) -> str:
    return f"{ACCEPTED}{key.kind}/{key.name}"


def status(key: Key) -> str:
    return f"{STATUS}{key.kind}/{key.name}"


def owner(key: Key) -> str:
    return f"{OWNERS}{key.kind}/{key.name}"


def confirmation(key: Key) -> str:
    """A person's word that this object's deletion is meant; the value is the incarnation it is meant for."""
    return f"{CONFIRMATIONS}deletion/{key.kind}/{key.name}"


def halted(key: Key) -> str:
    return f"{HALTED}{key.kind}/{key.name}"


def controller(identity: str) -> str:
    return f"{CONTROLLERS}{identity}"


def host(name: str) -> str:
    return f"{HOSTS}{name}"


def desired(host_name: str, instance: str) -> str:
    return f"{DESIRED}{host_name}/{instance}"


def observed(host_name: str, instance: str) -> str:
    return f"{OBSERVED}{host_name}/{instance}"


def secret(key: Key, name: str) -> str:
    return f"{SECRETS}{key.kind}/{key.name}/{name}"


def events(key: Key) -> str:
    return f"{EVENTS}{key.kind}/{key.name}/"


def account(user: str) -> str:
    return f"{ACCOUNTS}{user}"


def subnet(cidr: str) -> str:
    return f"{SUBNETS}{cidr.replace('/', '_')}"


def port(host_name: str, number: int) -> str:
    return f"{PORTS}{host_name}/{number}"


def patroni(scope: str, name: str = "") -> str:
    return f"{PATRONI}{scope}/{name}"
