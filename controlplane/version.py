"""Which pgswarm this is. A constant, because asking the installed package costs a health check 100 ms."""

from __future__ import annotations

VERSION = "0.1.0"
