"""PEM bundles: which blocks a text has. Pure text; nothing here knows what a certificate says."""

from __future__ import annotations

import re

from reconcilers.ports import Secret

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def certificates(bundle: Secret) -> str:
    """Return the certificates of a bundle without its key ("" when there are none): fit to be shown."""
    blocks = _CERTIFICATE.findall(bundle.reveal())
    return "".join(block + "\n" for block in blocks)
