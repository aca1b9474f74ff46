"""Texts are kept once, and nothing else about them changes."""

from __future__ import annotations

import json

from controlplane.orchestrators import shared

TEXT = json.dumps(
    {"Labels": {"pgswarm.kind": "instance"}, "Env": ["A=1", "x" * 100], "Replicas": 1, "None": None}
)


def test_equal_texts_of_two_objects_become_one_and_the_rest_stays_as_it_is() -> None:
    one, other = (shared.json(json.loads(TEXT)) for _ in range(2))

    assert one == other == json.loads(TEXT)
    assert one["Labels"]["pgswarm.kind"] is other["Labels"]["pgswarm.kind"]
    assert one["Env"][0] is other["Env"][0]
    assert one["Env"] is not other["Env"]
    assert shared.labels({"a-label": "its value"}) == {"a-label": "its value"}
