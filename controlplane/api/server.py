"""The listener: loopback in clear text, anything else with TLS unless the settings say otherwise."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from controlplane.api.app import build
from controlplane.api.facade import Facade
from controlplane.config import Config, ConfigError, ConfigProblem
from controlplane.logger import Log
from controlplane.setting_types import split_listen
from controlplane.tls_files import load_pair

GRACE_S = 1.0
"""Seconds that running requests get when the process stops."""


@asynccontextmanager
async def serving(config: Config, facade: Facade, log: Log) -> AsyncIterator[int]:
    """
    Serve the API while the block runs; yields the port.

    Raises:
        ConfigError: the address cannot be listened on, or the certificate cannot be used.
    """
    context = tls(config.api_cert, config.api_key)
    host, port = split_listen(config.api_listen)
    runner = web.AppRunner(
        build(facade, log), access_log=None, handle_signals=False, shutdown_timeout=GRACE_S
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=context)
        try:
            await site.start()
        except OSError as exc:
            fix = "is another pgswarm running? set --api-listen to a free address:port"
            raise ConfigError(
                (ConfigProblem(f"apiListen {config.api_listen}", f"cannot be used: {exc.strerror}", fix),)
            ) from exc
        bound = int(runner.addresses[0][1])
        log.info("api listens", address=host, port=bound, tls=context is not None)
        yield bound
    finally:
        await runner.cleanup()


def tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Raises: ConfigError when the files do not make a certificate."""
    if cert is None or key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, "apiCert", cert, "apiKey", key)
    return context
