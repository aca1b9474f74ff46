"""Views as JSON or YAML, for programs."""

from __future__ import annotations

import yaml
from pydantic import BaseModel

from controlplane.api import views


def as_text(view: BaseModel, output: str) -> str:
    if output == "json":
        return views.as_json(view)
    return str(yaml.safe_dump(views.plain(view), sort_keys=False, allow_unicode=True, width=110))
