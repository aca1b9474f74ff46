"""What a lab remembers between two commands: its shape and its faults. Processes are in pid files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clustertest.lab.errors import LabError

NAME = "lab.json"


@dataclass(slots=True)
class State:
    """The shape is set by `up`; the faults change with every partition, heal and slow."""

    hosts: int
    etcd: str
    tls: bool
    pgswarm: bool
    cut: list[tuple[int, int]] = field(default_factory=list)
    slow: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it so that a reader sees the old or the new, never half."""
        partial = folder / f"{NAME}.partial"
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.replace(folder / NAME)

    @classmethod
    def load(cls, folder: Path) -> State:
        """The state of the lab in this folder."""
        try:
            raw = json.loads((folder / NAME).read_text())
        except FileNotFoundError as exc:
            raise LabError(f"no lab is up in {folder}; python -m clustertest.lab up makes one") from exc
        raw["cut"] = [(int(a), int(b)) for a, b in raw["cut"]]
        return cls(**raw)

    def cut_from(self, number: int) -> set[int]:
        """The hosts that this one cannot hear."""
        return {b if a == number else a for a, b in self.cut if number in (a, b)}
