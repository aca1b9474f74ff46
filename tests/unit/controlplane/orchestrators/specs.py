"""Hypothesis strategies for ServiceSpec: everything that pgswarm could ask for."""

from __future__ import annotations

from hypothesis import strategies as st

from reconcilers.ports import (
    FileRef,
    HealthCheck,
    NetworkAttachment,
    PublishedPort,
    ServiceSpec,
    TmpfsMount,
    VolumeMount,
)

names = st.sampled_from(["a", "orders-n1-abcdef", "orders-superuser-9a0b1c2d3e", "x9"])
ids = st.integers(0, 10**9).map("{:025d}".format)
paths = st.sampled_from(["/data", "/dev/shm", "/etc/patroni.yml", "/run/a b"])
text = st.text(max_size=12)
full_text = st.text(min_size=1, max_size=12)
texts = st.lists(text, max_size=3).map(tuple)
seconds = st.integers(0, 10_000_000).map(lambda ms: ms / 1000)
counts = st.integers(0, 2**53)
capabilities = st.lists(st.sampled_from(["ALL", "CHOWN", "SYS_PTRACE", "FOWNER"]), max_size=2).map(tuple)

OWN = ["pgswarm.cluster", "pgswarm.database", "pgswarm.epoch", "pgswarm.hash", "pgswarm.x"]
own_labels = st.dictionaries(st.sampled_from(OWN), text, max_size=4).map(
    lambda one: dict(sorted(one.items()))
)
container_labels = st.dictionaries(
    st.one_of(full_text, st.sampled_from(["pgswarm.cluster", "pgswarm.instance", "pgswarm.incarnation"])),
    text,
    max_size=4,
)
mounts = st.lists(
    st.one_of(
        st.builds(VolumeMount, names, paths),
        st.builds(TmpfsMount, paths, counts, st.integers(0, 0o7777)),
    ),
    max_size=3,
).map(tuple)
files = st.lists(
    st.builds(FileRef, ids, names, paths, full_text, full_text, st.integers(0, 0o777)), max_size=3
).map(tuple)
networks = st.lists(st.builds(NetworkAttachment, st.one_of(ids, st.just("bridge")), texts), max_size=3).map(
    tuple
)
healths = st.builds(
    HealthCheck, st.lists(full_text, min_size=1, max_size=3).map(tuple), seconds, seconds, counts, seconds
)
ports = st.lists(st.builds(PublishedPort, st.integers(1, 65535), st.integers(0, 65535)), max_size=2).map(
    tuple
)

services = st.builds(
    ServiceSpec,
    name=names,
    labels=own_labels,
    image=full_text,
    command=texts,
    args=texts,
    env=texts,
    hostname=text,
    container_labels=container_labels,
    mounts=mounts,
    secrets=files,
    configs=files,
    networks=networks,
    node_id=st.one_of(st.just(""), ids),
    replicas=st.integers(0, 5),
    memory_bytes=counts,
    nano_cpus=counts,
    pids_limit=counts,
    drop_capabilities=capabilities,
    add_capabilities=capabilities,
    no_new_privileges=st.booleans(),
    stop_grace_s=seconds,
    stop_signal=st.sampled_from(["", "SIGTERM", "SIGINT"]),
    health=st.one_of(st.none(), healths),
    ports=ports,
    restart_delay_s=seconds,
    foreign=st.just(""),
)
