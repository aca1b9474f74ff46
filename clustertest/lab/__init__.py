"""
A real Swarm of several hosts on one machine, for tests and for people.

Each host is a network, mount, process and host name of its own, with its own Docker engine, its own
etcd member and its own `pgswarm run`. Only the standard library, so that any Python >= 3.11 runs it.
"""

from clustertest.lab.errors import LabError
from clustertest.lab.host import Host
from clustertest.lab.lab import Lab

__all__ = ["Host", "Lab", "LabError"]
