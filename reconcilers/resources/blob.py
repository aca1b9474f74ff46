"""The Swarm secrets and configs of an instance: immutable, named by their content, removed when nothing uses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconcilers.actions import Action, CreateBlob, RemoveBlob, Why
from reconcilers.observed import Observed
from reconcilers.ports import BlobView, FileRef, Secret
from reconcilers.resources import credential, naming, patroni_file, topology

SECRET = "secret"  # noqa: S105 - a kind of object
CONFIG = "config"


@dataclass(frozen=True, slots=True)
class File:
    """One file that a container gets to see."""

    kind: str
    name: str
    target: str
    content: Secret


def files(observed: Observed, one: topology.Instance, major: str) -> tuple[File, ...]:
    """Every file of one instance. The vault must be complete."""
    vault = observed.vault
    patroni = patroni_file.render(
        one,
        major,
        vault,
        observed.etcd_endpoints,
        etcd_auth=observed.etcd_auth,
        etcd_ca=bool(observed.etcd_ca),
        etcd_client=observed.etcd_client is not None,
    )
    server = vault[credential.server(one.name)]
    authority = certificate_only(vault[credential.CA])
    wanted = [
        File(SECRET, naming.blob(one.name, "patroni", patroni.reveal()), patroni_file.TARGET, patroni),
        File(SECRET, naming.blob(one.name, "server", server.reveal()), patroni_file.SERVER_PEM, server),
        File(CONFIG, naming.blob(one.database, "ca", authority), patroni_file.CA_PEM, Secret(authority)),
    ]
    if observed.etcd_ca:
        name = naming.blob(one.database, "etcd-ca", observed.etcd_ca)
        wanted.append(File(CONFIG, name, patroni_file.ETCD_CA_PEM, Secret(observed.etcd_ca)))
    if observed.etcd_client is not None:
        name = naming.blob(one.database, "etcd-client", observed.etcd_client.reveal())
        wanted.append(File(SECRET, name, patroni_file.ETCD_CLIENT_PEM, observed.etcd_client))
    return tuple(wanted)


def certificate_only(pem: Secret) -> str:
    """The certificates of a PEM bundle without its key: this part is public."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    parts = pem.reveal().split(begin)[1:]
    return "".join(f"{begin}{part.split(end)[0]}{end}\n" for part in parts)


def diff(observed: Observed, wanted: Iterable[File]) -> list[Action]:
    actions: dict[tuple[str, str], Action] = {}
    for file in wanted:
        if file.name not in _have(observed, file.kind):
            actions[file.kind, file.name] = CreateBlob(
                kind=file.kind,
                name=file.name,
                why=Why.ABSENT,
                labels={
                    naming.CLUSTER: observed.cluster,
                    naming.DATABASE: observed.key.name,
                    naming.KIND: file.kind,
                },
                data=file.content,
            )
    return [actions[name] for name in sorted(actions)]


def references(
    observed: Observed, wanted: Iterable[File]
) -> tuple[tuple[FileRef, ...], tuple[FileRef, ...]] | None:
    """(secrets, configs) as a service wants them; None while one of them does not exist."""
    found: dict[str, list[FileRef]] = {SECRET: [], CONFIG: []}
    for file in wanted:
        view = _have(observed, file.kind).get(file.name)
        if view is None:
            return None
        found[file.kind].append(FileRef(view.id, view.name, file.target))
    return tuple(found[SECRET]), tuple(found[CONFIG])


def surplus(observed: Observed, wanted: Iterable[File]) -> list[Action]:
    """Blobs that no wanted instance and no live service names any more (S23)."""
    keep = {file.name for file in wanted}
    for service in observed.services.values():
        keep |= {ref.object_name for ref in (*service.spec.secrets, *service.spec.configs)}
    return [
        RemoveBlob(kind=kind, name=view.name, why=Why.SURPLUS, blob_id=view.id)
        for kind in (SECRET, CONFIG)
        for view in sorted(_have(observed, kind).values(), key=lambda one: one.name)
        if view.name not in keep
    ]


def _have(observed: Observed, kind: str) -> Mapping[str, BlobView]:
    return observed.secrets if kind == SECRET else observed.configs
