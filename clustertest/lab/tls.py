"""A certificate authority for one lab, by openssl: a certificate for each host, for pgswarm and for its instances."""

from __future__ import annotations

from pathlib import Path

from clustertest.lab.etcd import Tls
from clustertest.lab.process import run

DAYS = "30"
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"]


def make(folder: Path, hosts: dict[str, str]) -> Tls:
    """Write the authority, a certificate per host (name to address) and the clients'; keys are 0600."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tls = Tls(folder)
    ca_key = folder / "ca.key"
    own = ["-days", DAYS, "-out", str(tls.ca), "-subj", "/CN=pgswarm lab"]
    run(["openssl", "req", "-x509", *NEW_KEY, str(ca_key), *own])
    for name, address in hosts.items():
        # No common name: etcd's own gateway would otherwise be taken for a user of that name.
        issue(tls, ca_key, name, "/O=pgswarm lab", f"IP:{address},IP:127.0.0.1,DNS:{name}")
    issue(tls, ca_key, "pgswarm", "/CN=pgswarm", "DNS:pgswarm")
    # With a common name the gateway, which is what Patroni speaks to, would turn it away.
    issue(tls, ca_key, "instances", "/O=pgswarm lab", "DNS:instances")
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    return tls


def issue(tls: Tls, ca_key: Path, name: str, subject: str, names: str) -> None:
    """One certificate, for server and client use, with these subject alternative names."""
    request = tls.folder / f"{name}.csr"
    extensions = tls.folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    run(["openssl", "req", "-new", *NEW_KEY, str(tls.key(name)), "-out", str(request), "-subj", subject])
    sign = ["-CA", str(tls.ca), "-CAkey", str(ca_key), "-CAcreateserial", "-days", DAYS]
    sign += ["-in", str(request), "-out", str(tls.cert(name)), "-extfile", str(extensions)]
    run(["openssl", "x509", "-req", *sign])
    request.unlink()
    extensions.unlink()
