"""
Every setting of a process, in one frozen model: its type, its default, what it is for.

A setting has one name in three spellings, derived from the attribute: `lease_ttl_s` is `leaseTtl` in the
file, `PGSWARM_LEASE_TTL` in the environment and `--lease-ttl` on the command line. A password is never a
setting: only the path of the file that holds it is.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from controlplane.setting_types import (
    CLUSTER,
    Seconds,
    Urls,
    WholeSeconds,
    between,
    check_address,
    check_docker,
    check_listen,
    check_prefix,
    check_subnet,
    is_loopback,
    matching,
    split_listen,
)
from crds.names import HostName
from reconcilers.errors import PgswarmError
from reconcilers.ports import Secret

_ENDPOINTS = ("instance_etcd_endpoints", "etcd_endpoints")

CLIENT_SETTINGS = (
    "etcd_endpoints",
    "etcd_user",
    "etcd_password_file",
    "etcd_ca",
    "etcd_cert",
    "etcd_key",
    "prefix",
    "key_file",
)
"""What the client commands need of this; `pgswarm run` takes every setting."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One setting that cannot be used: where it was given, what is wrong, what to write instead."""

    source: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}" + (f"; {self.fix}" if self.fix else "")


class ConfigError(PgswarmError):
    """The process cannot start with these settings; `problems` names every one of them."""

    reason = "InvalidConfig"

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Config(BaseModel):
    """Every setting of a pgswarm process. Durations are seconds here, text with a unit (`10s`) outside."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    host: HostName = Field(
        default_factory=lambda: platform.node().lower(),
        description="Name of this host in specs, in etcd and in status. Default: the machine's host name.",
        examples=["host-1"],
    )
    cluster: Annotated[str, matching(CLUSTER, "not a cluster id: lower-case letters, digits, dashes")] = (
        Field(
            default="default",
            description="Cluster id; labels every Swarm object and keeps two clusters on one Swarm apart.",
            examples=["default"],
        )
    )
    etcd_endpoints: Urls = Field(
        default=("http://127.0.0.1:2379",),
        description="Where etcd answers: URLs with port, separated by commas.",
        examples=["https://10.0.0.1:2379,https://10.0.0.2:2379"],
    )
    etcd_user: str | None = Field(
        default=None, description="etcd user; none: no authentication.", examples=["root"]
    )
    etcd_password_file: Path | None = Field(
        default=None,
        description="File with the etcd user's password.",
        examples=["/etc/pgswarm/etcd-password"],
    )
    etcd_ca: Path | None = Field(
        default=None,
        description="PEM file of the CA that signed etcd's certificates.",
        examples=["/etc/pgswarm/ca.pem"],
    )
    etcd_cert: Path | None = Field(
        default=None,
        description="PEM file of the client certificate for etcd.",
        examples=["/etc/pgswarm/etcd.pem"],
    )
    etcd_key: Path | None = Field(
        default=None,
        description="PEM file of the client certificate's key.",
        examples=["/etc/pgswarm/etcd-key.pem"],
    )
    instance_etcd_endpoints: Urls = Field(
        default_factory=lambda data: data["etcd_endpoints"],
        description="etcd as Patroni reaches it from inside a container. Default: the etcd endpoints.",
        examples=["http://172.17.0.1:2379"],
    )
    instance_etcd_cert: Path | None = Field(
        default=None,
        description="PEM file of the client certificate that instances show to etcd, the same on every host, "
        "without a common name. Default: etcdCert.",
        examples=["/etc/pgswarm/instance-etcd.pem"],
    )
    instance_etcd_key: Path | None = Field(
        default=None,
        description="PEM file of that certificate's key. Default: etcdKey.",
        examples=["/etc/pgswarm/instance-etcd-key.pem"],
    )
    embedded_etcd: bool = Field(
        default=False,
        description="Run a single etcd as a child process, data in the state directory.",
        examples=["true"],
    )
    prefix: Annotated[str, AfterValidator(check_prefix)] = Field(
        default="/pgswarm/v1/",
        description="Prefix of every etcd key of pgswarm's.",
        examples=["/pgswarm/v1/"],
    )
    docker: Annotated[str, AfterValidator(check_docker)] = Field(
        default="unix:///var/run/docker.sock",
        description="Socket of this host's Docker engine.",
        examples=["unix:///var/run/docker.sock"],
    )
    advertise_address: Annotated[str, AfterValidator(check_address)] | None = Field(
        default=None,
        description="Address at which clients reach this host. Default: the Swarm node's address.",
        examples=["10.0.0.1"],
    )
    api_listen: Annotated[str, AfterValidator(check_listen)] = Field(
        default="127.0.0.1:7432",
        description="Address and port of the HTTP API. Beyond loopback only with apiCert and apiKey, or insecure.",
        examples=["127.0.0.1:7432"],
    )
    api_cert: Path | None = Field(
        default=None,
        description="PEM file of the API's server certificate.",
        examples=["/etc/pgswarm/api.pem"],
    )
    api_key: Path | None = Field(
        default=None,
        description="PEM file of the API certificate's key.",
        examples=["/etc/pgswarm/api-key.pem"],
    )
    insecure: bool = Field(
        default=False, description="Allow the API to listen beyond loopback without TLS.", examples=["true"]
    )
    state_dir: Path = Field(
        default=Path("/var/lib/pgswarm"),
        description="Directory for what this process keeps on disk.",
        examples=["/var/lib/pgswarm"],
    )
    key_file: Path = Field(
        default_factory=lambda data: data["state_dir"] / "key",
        description="File (mode 0600) with the key that seals secrets: 32 bytes in base64, the same on every "
        "host; made at first start. Default: `key` in the state directory.",
        examples=["/var/lib/pgswarm/key"],
    )
    image_catalogue: Path | None = Field(
        default=None,
        description="File that maps Postgres versions to images. Default: the catalogue pgswarm comes with.",
        examples=["/etc/pgswarm/images.yaml"],
    )
    subnet_pool: Annotated[str, AfterValidator(check_subnet)] = Field(
        default="10.121.0.0/16",
        description="IPv4 network from which every database gets a subnet of its own.",
        examples=["10.121.0.0/16"],
    )
    lease_ttl_s: Annotated[WholeSeconds, between(3, 300)] = Field(
        default=10,
        description="Time after which another controller takes over from one that fell silent.",
        examples=["10s"],
    )
    resync_s: Annotated[Seconds, between(1, 86_400)] = Field(
        default=60.0,
        description="Time between two looks at a database of which nothing was heard.",
        examples=["60s"],
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(lambda v: v.lower() if isinstance(v, str) else v),
    ] = Field(
        default="info",
        description="Least level that is logged: debug, info, warning or error.",
        examples=["info"],
    )

    @model_validator(mode="after")
    def _agree(self) -> Config:
        for field, message, fix in _contradictions(self):
            raise PydanticCustomError(
                "contradiction", "{message}", {"field": field, "message": message, "fix": fix}
            )
        return self

    def instance_etcd_secure(self) -> bool:
        """Patroni reaches etcd by TLS."""
        return self.instance_etcd_endpoints[0].startswith("https://")

    def instance_etcd_identity(self) -> tuple[Path | None, Path | None]:
        """Files of the certificate and key that instances show to etcd: their own, else this process's."""
        if self.instance_etcd_cert is not None:
            return self.instance_etcd_cert, self.instance_etcd_key
        return self.etcd_cert, self.etcd_key

    def etcd_password(self) -> Secret | None:
        """
        Read the password file.

        Raises:
            ConfigError: the file cannot be read or is empty.
        """
        if self.etcd_password_file is None:
            return None
        source = f"etcd password file {self.etcd_password_file}"
        try:
            text = self.etcd_password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise ConfigError(
                (ConfigProblem(source, f"cannot be read: {why}", "check the path and its mode"),)
            ) from exc
        if not text:
            raise ConfigError((ConfigProblem(source, "is empty", "write the password into it"),))
        return Secret(text)


def _contradictions(config: Config) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for cert, key in (
        ("etcd_cert", "etcd_key"),
        ("instance_etcd_cert", "instance_etcd_key"),
        ("api_cert", "api_key"),
    ):
        have, lack = (cert, key) if getattr(config, cert) else (key, cert)
        if getattr(config, have) and not getattr(config, lack):
            found.append(
                (have, f"{to_camel(have)} is useless without {to_camel(lack)}", f"give {flag_name(lack)} too")
            )
    if config.etcd_user and not config.etcd_password_file:
        found.append(("etcd_user", "an etcd user needs a password", "give --etcd-password-file too"))
    if config.etcd_password_file and not config.etcd_user:
        found.append(("etcd_password_file", "an etcd password needs a user", "give --etcd-user too"))
    found += _clear_text(config)
    host, _ = split_listen(config.api_listen)
    if not is_loopback(host) and not config.api_cert and not config.insecure:
        message = f"the API would answer in clear text to everybody who reaches {config.api_listen}"
        found.append(("api_listen", message, "give --api-cert and --api-key, or --insecure if you mean it"))
    return found


def _clear_text(config: Config) -> list[tuple[str, str, str]]:
    """Endpoints without TLS, where it is wanted."""
    found: list[tuple[str, str, str]] = []
    for place, files in (
        ("etcd_endpoints", ("etcd_ca", "etcd_cert")),
        ("instance_etcd_endpoints", ("instance_etcd_cert",)),
    ):
        clear = [url for url in getattr(config, place) if url.startswith("http://")]
        given = [to_camel(file) for file in files if getattr(config, file)]
        if clear and given:
            found.append((place, f"{given[0]} is given, but {clear[0]} is not https", "write https://"))
    if len({url.partition(":")[0] for url in config.instance_etcd_endpoints}) > 1:
        where = [name for name in _ENDPOINTS if name in config.model_fields_set]
        message = "some of the endpoints are http and some https, and Patroni can speak only one of them"
        found.append(((where or _ENDPOINTS)[0], message, "write all of them with http:// or with https://"))
    return found


def base_name(attribute: str) -> str:
    """The setting's name without the unit that ends the attribute's."""
    return attribute.removesuffix("_s")


def file_key(attribute: str) -> str:
    return to_camel(base_name(attribute))


def variable_name(attribute: str) -> str:
    return f"PGSWARM_{base_name(attribute).upper()}"


def flag_name(attribute: str) -> str:
    return f"--{base_name(attribute).replace('_', '-')}"
