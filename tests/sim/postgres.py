"""
A Postgres that lives in memory: roles, databases, extensions, ALTER SYSTEM, the fence and the ledger.

It understands the statements that the resources make and nothing else; what it does not know fails loudly.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconcilers.errors import OwnershipLost, Refused, Unavailable
from reconcilers.ports import Ids, InstanceAccess, Secret, Statement
from reconcilers.resources import extension, inventory, logical_database, role, scram, settings
from reconcilers.resources.sql import MAINTENANCE

_CATALOGUE_FLAG = {
    "login": "rolcanlogin",
    "superuser": "rolsuper",
    "createdb": "rolcreatedb",
    "createrole": "rolcreaterole",
    "replication": "rolreplication",
    "bypassrls": "rolbypassrls",
    "inherit": "rolinherit",
}
Value = str | int | bool | Secret | None


@dataclass(slots=True)
class FakeRole:
    flags: dict[str, bool] = field(default_factory=lambda: {flag: flag == "inherit" for flag in role.FLAGS})
    connection_limit: int = -1
    valid_until: str | None = None
    password: str | None = None
    comment: str | None = None
    builtin: bool = False
    member_of: dict[str, bool] = field(default_factory=dict)
    """Parent -> with admin option."""


@dataclass(slots=True)
class FakeDatabase:
    owner: str
    encoding: str = "UTF8"
    collate: str = "C.UTF-8"
    extensions: set[str] = field(default_factory=lambda: {"plpgsql"})


@dataclass(slots=True)
class _State:
    roles: dict[str, FakeRole]
    databases: dict[str, FakeDatabase]
    ledger: set[str] | None = None
    """None: pgswarm's schema does not exist."""
    epoch: int = 0


class FakePostgres:
    """One node: a primary and its replicas, which share everything but their settings."""

    def __init__(self, primary: str, replicas: Sequence[str] = (), *, version: int = 170002) -> None:
        self.primary = primary
        self.version = version
        self.password = "superuser"
        self.disk: str | None = None
        """What the image's health check has left of the volume's file system."""
        self.auto_conf: dict[str, set[str]] = {address: set() for address in (primary, *replicas)}
        self.available = {"plpgsql", "hstore", "citext", "pg_stat_statements"}
        self.silent: set[str] = set()
        """Addresses that do not answer."""
        self.writes = 0
        """Statements executed, in all."""
        self.clean()

    def clean(self) -> None:
        builtin = {"pgswarm", "pg_monitor", "pg_read_all_data"}
        self.state = _State(
            {name: FakeRole(builtin=True) for name in builtin}, {MAINTENANCE: FakeDatabase("pgswarm")}
        )
        for names in self.auto_conf.values():
            names.clear()

    # --- what a person does with psql: the verbs of `tests.postgres_server.Person`

    def make_role(self, name: str) -> None:
        self.state.roles[name] = FakeRole()

    def alter_role(self, name: str, flag: str, on: bool) -> None:
        self.state.roles[name].flags[flag] = on

    def set_password(self, name: str, password: str) -> None:
        self.state.roles[name].password = scram.verifier(Secret(password), b"salt of a person").reveal()

    def limit_role(self, name: str, connections: int, until: str) -> None:
        self.state.roles[name].connection_limit = connections
        self.state.roles[name].valid_until = role.normal_time(until)

    def comment_role(self, name: str, text: str) -> None:
        self.state.roles[name].comment = text

    def grant(self, parent: str, role: str, *, admin: bool = False) -> None:
        self.state.roles[role].member_of[parent] = admin

    def revoke(self, parent: str, role: str) -> None:
        del self.state.roles[role].member_of[parent]

    def drop_role(self, name: str) -> None:
        assert not self.owned_by(name)
        del self.state.roles[name]
        for one in self.state.roles.values():
            one.member_of.pop(name, None)

    def make_database(self, name: str, owner: str = "pgswarm") -> None:
        self.state.databases[name] = FakeDatabase(owner)

    def own_database(self, name: str, owner: str) -> None:
        self.state.databases[name].owner = owner

    def drop_database(self, name: str) -> None:
        del self.state.databases[name]

    def drop_extension(self, database: str, name: str) -> None:
        self.state.databases[database].extensions.remove(name)

    def alter_system(self, setting: str, value: str, address: str = "") -> None:
        self.auto_conf[address or self.primary].add(setting)

    def owned_by(self, name: str) -> list[str]:
        return sorted(key for key, database in self.state.databases.items() if database.owner == name)


class FakeSql:
    """`ports.Sql` over every FakePostgres of a world, found by the address of an instance."""

    def __init__(self, servers: Sequence[FakePostgres], ids: Ids) -> None:
        self.servers = list(servers)
        self.queries = 0
        self._ids = ids

    async def close(self) -> None:
        """Nothing to close."""

    def _server(self, access: InstanceAccess, database: str) -> FakePostgres:
        for server in self.servers:
            if access.address in server.auto_conf and access.address not in server.silent:
                break
        else:
            raise Unavailable("postgres", "connection refused")
        if access.password.reveal() != server.password:
            raise Unavailable("postgres", "password authentication failed")
        if database not in server.state.databases:
            raise Unavailable("postgres", f'database "{database}" does not exist')
        return server

    async def query(
        self, access: InstanceAccess, database: str, statement: Statement
    ) -> Sequence[Sequence[Any]]:
        self.queries += 1
        server = self._server(access, database)
        match statement.template:
            case inventory.INVENTORY:
                return [[_inventory(server, access.address, statement.literals)]]
            case inventory.LEDGER:
                return [[name] for name in sorted(server.state.ledger or ())]
            case inventory.EXTENSIONS:
                return [[name] for name in sorted(server.state.databases[database].extensions)]
        raise AssertionError(f"not a query of ours: {statement.template}")

    async def execute(
        self, access: InstanceAccess, database: str, statements: Sequence[Statement], *, epoch: int
    ) -> None:
        server = self._server(access, database)
        for _, group in itertools.groupby(enumerate(statements), key=_transaction):
            if epoch < server.state.epoch:
                raise OwnershipLost("Postgres: a newer owner has written to it, so it")
            before = copy.deepcopy(server.state)
            try:
                if access.address == server.primary:
                    server.state.epoch = epoch
                    server.state.ledger = set() if server.state.ledger is None else server.state.ledger
                for _, statement in group:
                    server.writes += 1
                    self._run(server, access.address, database, statement)
            except Refused:
                server.state = before
                raise

    def _run(self, server: FakePostgres, address: str, database: str, statement: Statement) -> None:
        verb = next((verb for start, verb in _VERBS.items() if statement.template.startswith(start)), None)
        assert verb is not None, f"not a statement of ours: {statement.template}"
        for name in statement.identifiers.values():
            if "\0" in name or not 0 < len(name.encode(errors="replace")) <= 63:
                raise Refused("postgres", "a name that Postgres cannot hold")
        if address != server.primary and verb not in (_reset, _nothing):
            raise Refused("postgres", "cannot execute this in a read-only transaction")
        verb(_Call(server, address, database, statement, self._ids))


@dataclass(frozen=True, slots=True)
class _Call:
    server: FakePostgres
    address: str
    database: str
    statement: Statement
    ids: Ids

    def name(self, place: str) -> str:
        return self.statement.identifiers[place]

    def value(self, place: str) -> Value:
        return self.statement.literals[place]

    def role(self, place: str = "role") -> FakeRole:
        found = self.server.state.roles.get(self.name(place))
        if found is None:
            raise Refused("postgres", f'role "{self.name(place)}" does not exist')
        return found


def _transaction(numbered: tuple[int, Statement]) -> int:
    """All transactional statements in a row share a number, each other one has its own."""
    return -1 if numbered[1].transactional else numbered[0]


def _create_role(call: _Call) -> None:
    if call.name("role") in call.server.state.roles:
        raise Refused("postgres", f'role "{call.name("role")}" already exists')
    call.server.state.roles[call.name("role")] = FakeRole()
    _alter_role(call)


def _alter_role(call: _Call) -> None:
    have = call.role()
    words = call.statement.template.split()
    for flag in role.FLAGS:
        assert (flag.upper() in words) != (f"NO{flag.upper()}" in words), flag
        have.flags[flag] = flag.upper() in words
    have.connection_limit = int(str(call.value("limit")))
    have.valid_until = role.normal_time(str(call.value("until")))
    if "password" in call.statement.literals:
        password = call.value("password")
        assert isinstance(password, Secret), "a password is a Secret all the way"
        salt = call.ids.token().reveal().encode()[:16]
        sealed = password if scram.is_verifier(password.reveal()) else scram.verifier(password, salt)
        have.password = sealed.reveal()


def _comment_role(call: _Call) -> None:
    text = call.value("comment")
    call.role().comment = None if text is None else str(text)


def _drop_role(call: _Call) -> None:
    call.role()
    if call.server.owned_by(call.name("role")):
        raise Refused(
            "postgres", f'role "{call.name("role")}" cannot be dropped because some objects depend on it'
        )
    call.server.drop_role(call.name("role"))


def _grant(call: _Call) -> None:
    call.role("parent")
    call.role().member_of.setdefault(call.name("parent"), False)


def _revoke(call: _Call) -> None:
    call.role().member_of.pop(call.name("parent"), None)


def _revoke_admin(call: _Call) -> None:
    call.role().member_of[call.name("parent")] = False


def _create_database(call: _Call) -> None:
    assert not call.statement.transactional, "CREATE DATABASE cannot run inside a transaction block"
    names, literals = call.statement.identifiers, call.statement.literals
    if names["database"] in call.server.state.databases:
        raise Refused("postgres", f'database "{names["database"]}" already exists')
    if "owner" in names:
        call.role("owner")
    owner, locale = names.get("owner", "pgswarm"), literals.get("locale")
    call.server.state.databases[names["database"]] = FakeDatabase(
        owner, str(literals["encoding"]), str(locale or "C.UTF-8")
    )


def _own_database(call: _Call) -> None:
    call.role("owner")
    call.server.own_database(call.name("database"), call.name("owner"))


def _enter(call: _Call) -> None:
    assert call.server.state.ledger is not None
    call.server.state.ledger.add(str(call.value("name")))


def _strike(call: _Call) -> None:
    assert call.server.state.ledger is not None
    call.server.state.ledger.discard(str(call.value("name")))


def _create_extension(call: _Call) -> None:
    if call.name("extension") not in call.server.available:
        raise Refused("postgres", f'extension "{call.name("extension")}" is not available')
    call.server.state.databases[call.database].extensions.add(call.name("extension"))


def _reset(call: _Call) -> None:
    assert not call.statement.transactional, "ALTER SYSTEM cannot run inside a transaction block"
    call.server.auto_conf[call.address].discard(call.name("setting"))


def _nothing(_: _Call) -> None:
    """Changes nothing that the fake keeps."""


_VERBS: Mapping[str, Callable[[_Call], None]] = {
    "CREATE ROLE": _create_role,
    "ALTER ROLE": _alter_role,
    "COMMENT ON ROLE": _comment_role,
    "DROP ROLE": _drop_role,
    "GRANT": _grant,
    "REVOKE ADMIN OPTION": _revoke_admin,
    "REVOKE": _revoke,
    "CREATE DATABASE": _create_database,
    "ALTER DATABASE": _own_database,
    logical_database.ENTER: _enter,
    logical_database.STRIKE: _strike,
    extension.PLACE: _nothing,
    extension.CREATE: _create_extension,
    settings.RESET: _reset,
    settings.RELOAD: _nothing,
}


def _inventory(server: FakePostgres, address: str, literals: Mapping[str, Value]) -> dict[str, Any]:
    roles, dropping, databases = (
        json.loads(str(literals[place])) for place in ("roles", "dropping", "databases")
    )
    state = server.state
    return {
        "version": server.version,
        "in_recovery": address != server.primary,
        "managed": state.ledger is not None,
        "disk": server.disk,
        "auto_conf": sorted(server.auto_conf[address]),
        "roles": {
            name: _role_row(state.roles[name], server.owned_by(name) if name in dropping else [])
            for name in roles
            if name in state.roles
        },
        "databases": {
            name: {
                "owner": state.databases[name].owner,
                "encoding": state.databases[name].encoding,
                "collate": state.databases[name].collate,
                "connectable": True,
                "valid": True,
            }
            for name in databases
            if name in state.databases
        },
    }


def _role_row(have: FakeRole, dependents: list[str]) -> dict[str, Any]:
    return {
        **{_CATALOGUE_FLAG[flag]: on for flag, on in have.flags.items()},
        "rolconnlimit": have.connection_limit,
        "rolpassword": have.password,
        "until": have.valid_until,
        "comment": have.comment,
        "builtin": have.builtin,
        "member_of": [
            {"parent": parent, "by": "pgswarm", "admin_option": admin}
            for parent, admin in sorted(have.member_of.items())
        ],
        "dependents": dependents,
    }
