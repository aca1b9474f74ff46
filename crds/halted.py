"""That etcd went back behind what the Swarm has seen. One record a database; only a person removes it."""

from __future__ import annotations

from pydantic import Field

from crds.meta import Model


class Halted(Model):
    """`halted/database/<name>`: while it is there, nothing is done for the database."""

    epoch: int = Field(default=0, description="Epoch of the owner that etcd had confirmed when it noticed.")
    newest: int = Field(default=0, description="The newest epoch that a service was labelled with then.")
    since: str = Field(default="", description="RFC 3339.")
