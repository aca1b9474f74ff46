from __future__ import annotations

from reconcilers.ports import BlobView, NetworkView, SwarmView, TaskView
from reconcilers.resources import naming
from reconcilers.swarm_index import SwarmIndex
from tests.unit.reconcilers.database.scene import running


def labels(cluster: str, database: str) -> dict[str, str]:
    return {naming.CLUSTER: cluster, naming.DATABASE: database}


def view() -> SwarmView:
    services = tuple(running().services.values())
    return SwarmView(
        at_s=0.0,
        services=services,
        networks=(
            NetworkView(
                "n1", "orders-net", labels("default", "orders"), "overlay", "swarm", ("10.1.0.0/26",)
            ),
            NetworkView("n2", "shop-net", labels("default", "shop"), "overlay", "swarm", ("10.1.0.64/26",)),
            NetworkView("n3", "theirs", labels("another", "orders"), "overlay", "swarm", ("10.1.0.128/26",)),
            NetworkView("n4", "bridge", {}, "overlay", "swarm", ("172.17.0.0/16",)),
        ),
        secrets=(BlobView("s1", "orders-x", labels("default", "orders")),),
        configs=(BlobView("c1", "shop-x", labels("default", "shop")),),
        nodes=(),
        tasks=(
            TaskView("t1", services[0].id, "", "running", "running", "", ""),
            TaskView("t2", "else", "", "running", "running", "", ""),
        ),
    )


def test_each_database_has_its_own_and_nobody_elses() -> None:
    seen = view()
    index = SwarmIndex(seen, "default")
    orders, shop = index.share("orders"), index.share("shop")

    assert orders.services == running().services
    assert [*orders.networks, *shop.networks] == ["orders-net", "shop-net"]
    assert ([*orders.secrets], [*orders.configs]) == (["orders-x"], [])
    assert ([*shop.secrets], [*shop.configs]) == ([], ["shop-x"])
    assert [task.id for task in orders.tasks] == ["t1"]
    assert shop.tasks == []
    assert not index.share("nobody").services
