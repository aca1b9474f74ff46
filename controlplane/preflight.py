"""The files that the settings name, read once before anything starts: a bad one is told at once, and all of them."""

from __future__ import annotations

from collections.abc import Callable

from controlplane.api.server import tls as api_tls
from controlplane.config import Config, ConfigError, ConfigProblem
from controlplane.dial import tls as etcd_tls
from controlplane.instance_tls import instance_tls
from controlplane.stores.keyfile import KeyFileError, load_kek
from crds import catalogue
from crds.problems import SpecRefused


def check_files(config: Config) -> None:
    """
    Raises:
        ConfigError: with every file that cannot be used.
    """
    checks: tuple[Callable[[Config], object], ...] = (
        _etcd_password,
        etcd_tls,
        # Whether etcd asks for users is not known yet; what only matters then is checked when it is.
        lambda config: instance_tls(config, etcd_auth=False),
        lambda config: api_tls(config.api_cert, config.api_key),
        _key_file,
        images,
    )
    found: list[ConfigProblem] = []
    for check in checks:
        try:
            check(config)
        except ConfigError as exc:
            found += exc.problems
    if found:
        raise ConfigError(tuple(dict.fromkeys(found)))


def images(config: Config) -> catalogue.Catalogue:
    """Raises: ConfigError when the image catalogue cannot be used."""
    if config.image_catalogue is None:
        return catalogue.builtin()
    source = f"image catalogue {config.image_catalogue}"
    try:
        return catalogue.parse(config.image_catalogue.read_bytes())
    except OSError as exc:
        problem = ConfigProblem(source, f"cannot be read: {exc.strerror}", "check path and mode")
        raise ConfigError((problem,)) from exc
    except SpecRefused as exc:
        problems = (ConfigProblem(source, str(problem), "") for problem in exc.problems)
        raise ConfigError(tuple(problems)) from exc


def _etcd_password(config: Config) -> None:
    if not config.embedded_etcd:
        config.etcd_password()
    # Else pgswarm makes the password itself, at the first start.


def _key_file(config: Config) -> None:
    if not config.key_file.exists():
        return  # made at the first start
    try:
        load_kek(config.key_file)
    except KeyFileError as exc:
        raise ConfigError((ConfigProblem("key file", str(exc), ""),)) from exc
