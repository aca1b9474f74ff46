"""`hosts/<name>`: what this host is. Its life is the session's lease; it is written only when a fact changes."""

from __future__ import annotations

from controlplane.logger import Log
from controlplane.version import VERSION
from crds.heartbeat import HostRecord
from reconcilers import paths
from reconcilers.errors import PgswarmError
from reconcilers.ports import Clock, Engine, EngineFacts, Put, Records, Store

LOOK_S = 1.0
"""Between two looks at whether the record is still there (a new lease takes it away)."""
FACTS_S = 30.0
"""Between two questions to the engine."""


class Heartbeat:
    """Runs for ever beside the queues."""

    def __init__(
        self,
        host: str,
        address: str | None,
        engine: Engine,
        records: Records,
        store: Store,
        clock: Clock,
        log: Log,
    ) -> None:
        self._host, self._address = host, address
        self._engine, self._records, self._store = engine, records, store
        self._clock, self._log = clock, log
        self._started_at = clock.now()
        self._value = b""
        self._asked_at_s = float("-inf")
        self.answered = False
        """The engine answered the last question."""

    async def run(self) -> None:
        while True:
            try:
                await self._beat()
            except PgswarmError as error:
                self._log.warning("cannot say what this host is", error=str(error))
            await self._clock.sleep(LOOK_S)

    async def _beat(self) -> None:
        if self._clock.monotonic() - self._asked_at_s >= FACTS_S:
            self.answered = False
            facts = await self._engine.facts()
            self._asked_at_s = self._clock.monotonic()
            self.answered = True
            self._value = self._record(facts).model_dump_json().encode()
        record = self._records.get(paths.host(self._host))
        if record is None or record.value != self._value:
            revision = await self._store.commit([Put(paths.host(self._host), self._value, leased=True)])
            await self._records.reached(revision)

    def _record(self, facts: EngineFacts) -> HostRecord:
        return HostRecord(
            name=self._host,
            address=self._address or facts.address or self._host,
            node_id=facts.node_id,
            manager=facts.manager,
            bridge_gateway=facts.bridge_gateway,
            cpus=facts.cpus,
            memory_bytes=facts.memory_bytes,
            engine_version=facts.engine_version,
            api_version=facts.api_version,
            os=facts.os,
            architecture=facts.architecture,
            pgswarm_version=VERSION,
            started_at=self._started_at,
        )
