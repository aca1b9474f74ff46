"""What records say is read the same whether others say it, too."""

from __future__ import annotations

import json

from reconcilers import reading
from reconcilers.ports import Record

CONFIG = {
    "ttl": 20,
    "postgresql": {"parameters": {"work_mem": "4MB"}, "pg_hba": ["local all all", "host all"]},
}


def test_what_the_configurations_of_two_clusters_have_in_common_is_kept_once() -> None:
    text = json.dumps(CONFIG).encode()
    one, other = (
        reading.patroni_cluster(f"patroni/{scope}/", [Record(f"patroni/{scope}/config", text, 1, 1)]).config
        for scope in ("a-n1", "b-n1")
    )

    assert one == other == CONFIG
    assert one is not None
    assert other is not None
    for mine, theirs in zip(one["postgresql"]["pg_hba"], other["postgresql"]["pg_hba"], strict=True):
        assert mine is theirs
    assert one["postgresql"]["parameters"]["work_mem"] is other["postgresql"]["parameters"]["work_mem"]
