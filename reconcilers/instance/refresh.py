"""
Look at one instance: Docker on this host, Patroni, Postgres. Reads only.

What does not answer is a finding, not an error: an instance that is starting, or broken, is reported too.
Only Docker and etcd must answer, for without them there is nothing to report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crds.instance import InstanceDesired, Problem, RoleDesired
from reconcilers import paths
from reconcilers.errors import Refused, RetryableError, Unavailable
from reconcilers.ports import (
    ContainerView,
    Engine,
    EngineView,
    InstanceAccess,
    Patroni,
    PatroniView,
    Records,
    Secret,
    Sql,
    Statement,
    Vault,
    VolumeView,
)
from reconcilers.resources import complaint, inventory, naming, pem
from reconcilers.resources.inventory import DatabaseView, Inventory
from reconcilers.resources.sql import MAINTENANCE

_DETAIL_MAX = 200
COMING = (
    "running",
    "starting",
    "restarting",
    "initializing new cluster",
    "creating replica",
    "running custom bootstrap script",
)
"""Patroni's words for a Postgres that runs, or is on its way."""
REUSED_MAX = 2
"""How often an answer of Patroni is used again while nothing of it has moved in etcd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What Postgres said."""

    inventory: Inventory
    ledger: frozenset[str] = frozenset()
    """Databases that pgswarm has made; read on a primary only."""
    extensions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Installed extensions, of each database that is to have some and could be looked into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    revision: int
    """mod_revision of the desired record that this was read for."""
    container: ContainerView | None
    volume: VolumeView | None
    volume_used: bool
    """A container, running or not, has the volume."""
    access: InstanceAccess | None = None
    patroni: PatroniView | None = None
    inside: Inside | None = None
    passwords: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    """By role: the password, or the verifier that the user gave."""
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class _Kept:
    """What Patroni said last, and the records that would have changed if it said something else now."""

    told: tuple[object, ...]
    view: PatroniView
    uses: int = 0


@dataclass(frozen=True, slots=True)
class Reader:
    """The ports that refresh reads from."""

    records: Records
    engine: Engine
    patroni: Patroni
    sql: Sql
    vault: Vault
    _kept: dict[str, _Kept] = field(default_factory=dict)
    """By instance."""

    def forget(self, instance: str) -> None:
        """Ask Patroni the next time, whatever the records say: something was done, or is to be watched closely."""
        self._kept.pop(instance, None)

    async def refresh(self, desired: InstanceDesired, revision: int) -> Observed:
        """Raises: Unavailable when Docker does not answer."""
        view = await self.engine.view()
        found = _Findings(self.records, self.vault)
        container = _container(view, desired)
        access = patroni = inside = None
        if desired.ensure == "present" and container is not None and container.state == "running":
            access = found.access(desired, container.address) if container.address else None
            patroni = await self._patroni_view(desired, access, container, found) if access else None
        if container is not None and desired.ensure == "present" and _is_ill(container, patroni):
            reason = await self._complaint(container)
            if reason is not None:
                found.problems.insert(0, reason)
        passwords: Mapping[str, Secret] = {}
        if access is not None and patroni is not None and patroni.state == "running":
            passwords = found.passwords(desired)
            inside = await self._look_inside(access, desired, primary=patroni.role == "primary", found=found)
            if inside is not None and inside.inventory.disk is not None and inside.inventory.disk.full:
                found.problems.insert(0, complaint.FULL)
        return Observed(
            revision=revision,
            container=container,
            volume=next((one for one in view.volumes if one.name == desired.volume), None),
            volume_used=in_use(view, desired.volume),
            access=access,
            patroni=patroni,
            inside=inside,
            passwords=passwords,
            problems=tuple(found.problems),
        )

    async def _complaint(self, container: ContainerView) -> Problem | None:
        """What its log says of the reason. A log that cannot be read, as some drivers' cannot, hides nothing else."""
        try:
            said = await self.engine.log(container.id, lines=complaint.LINES, since_s=complaint.SINCE_S)
        except (Unavailable, Refused):
            return None
        return complaint.heard(said)

    async def _patroni_view(
        self, desired: InstanceDesired, access: InstanceAccess, container: ContainerView, found: _Findings
    ) -> PatroniView | None:
        """Each question is a TLS handshake: of a settled instance it is asked when its records in etcd moved."""
        scope = (
            paths.patroni(desired.scope, what) for what in (f"members/{desired.instance}", "leader", "config")
        )
        told = (container.id, *(r.mod_revision if (r := self.records.get(path)) else 0 for path in scope))
        kept = self._kept.get(desired.instance)
        if kept is not None and kept.told == told and kept.uses < REUSED_MAX:
            kept.uses += 1
            return kept.view
        view = await self._ask_patroni(access, container, found)
        self.forget(desired.instance)
        if view is not None and view.state == "running" and view.sysid and not view.pending_restart:
            self._kept[desired.instance] = _Kept(told, view)
        return view

    async def _ask_patroni(
        self, access: InstanceAccess, container: ContainerView, found: _Findings
    ) -> PatroniView | None:
        try:
            return await self.patroni.view(access)
        except RetryableError as exc:
            # Silence is what one expects of a container that has just started.
            if container.health != "starting":
                found.add("PatroniUnavailable", exc)
            return None

    async def _look_inside(
        self, access: InstanceAccess, desired: InstanceDesired, *, primary: bool, found: _Findings
    ) -> Inside | None:
        try:
            have = inventory.read(await self.sql.query(access, MAINTENANCE, _inventory(desired)))
            if have.in_recovery or not primary:
                return Inside(inventory=have)
            ledger: frozenset[str] = frozenset()
            if have.managed:
                ledger = inventory.names(
                    await self.sql.query(access, MAINTENANCE, Statement(inventory.LEDGER))
                )
        except (Unavailable, Refused) as exc:
            found.add("PostgresUnavailable", exc)
            return None
        extensions = await self._extensions(access, desired, have.databases, found)
        return Inside(inventory=have, ledger=ledger, extensions=extensions)

    async def _extensions(
        self,
        access: InstanceAccess,
        desired: InstanceDesired,
        databases: Mapping[str, DatabaseView],
        found: _Findings,
    ) -> Mapping[str, frozenset[str]]:
        installed: dict[str, frozenset[str]] = {}
        for want in desired.databases:
            have = databases.get(want.name)
            if not want.extensions or have is None or not have.valid:
                continue
            try:
                rows = await self.sql.query(access, want.name, Statement(inventory.EXTENSIONS))
                installed[want.name] = inventory.names(rows)
            except (Unavailable, Refused) as exc:
                found.add("DatabaseUnavailable", exc, f"database {want.name}: ")
        return installed


def _is_ill(container: ContainerView, patroni: PatroniView | None) -> bool:
    """It has ended, or neither runs Postgres nor is about to."""
    if container.state != "running":
        return container.state == "exited"
    if patroni is None:
        return container.health != "starting"
    return patroni.role != "uninitialized" and patroni.state not in COMING


def in_use(view: EngineView, volume: str) -> bool:
    return any(volume in container.volumes for container in view.containers)


def _container(view: EngineView, desired: InstanceDesired) -> ContainerView | None:
    """The instance's container: a running one before all others, then the youngest."""
    ours = [
        one
        for one in view.containers
        if one.labels.get(naming.INSTANCE) == desired.instance
        and one.labels.get(naming.INCARNATION, desired.incarnation) == desired.incarnation
    ]
    return max(ours, key=lambda one: (one.state == "running", one.started_at, one.id), default=None)


def _inventory(desired: InstanceDesired) -> Statement:
    parents = (parent for role in desired.roles for parent in role.member_of)
    owners = (database.owner for database in desired.databases if database.owner is not None)
    return inventory.query(
        roles=(*(role.name for role in desired.roles), *parents, *owners),
        dropping=(role.name for role in desired.roles if role.ensure == "absent"),
        databases=(database.name for database in desired.databases),
    )


@dataclass(frozen=True, slots=True)
class _Findings:
    """Secrets as they are found, and the problems met on the way."""

    records: Records
    vault: Vault
    problems: list[Problem] = field(default_factory=list)

    def add(self, reason: str, exc: Exception, prefix: str = "") -> None:
        self.problems.append(Problem(reason=reason, message=(prefix + str(exc))[:_DETAIL_MAX]))

    def secret(self, path: str) -> Secret | None:
        record = self.records.get(path)
        if record is None:
            self.problems.append(Problem(reason="SecretMissing", message=f"there is no secret at {path}"))
            return None
        try:
            return self.vault.open(path, record.value)
        except Refused as exc:
            self.add("SecretSealed", exc, f"{path}: ")
            return None

    def access(self, desired: InstanceDesired, address: str) -> InstanceAccess | None:
        superuser, rest, bundle = (
            self.secret(path) for path in (desired.superuser_path, desired.rest_path, desired.ca_path)
        )
        if superuser is None or rest is None or bundle is None:
            return None
        return InstanceAccess(
            address=address,
            superuser=naming.SUPERUSER,
            password=superuser,
            rest_user=naming.REST_USER,
            rest_password=rest,
            ca_pem=pem.certificates(bundle),
            server_name=desired.instance,
        )

    def passwords(self, desired: InstanceDesired) -> Mapping[str, Secret]:
        pairs = ((role.name, self.password(role)) for role in desired.roles if role.ensure == "present")
        return {name: password for name, password in pairs if password is not None}

    def password(self, role: RoleDesired) -> Secret | None:
        if role.scram is not None:
            return Secret(role.scram)
        return None if role.password_path is None else self.secret(role.password_path)
