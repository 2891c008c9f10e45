"""What verbs print for machines."""

from __future__ import annotations

import dataclasses
import json
from typing import Any


def as_json(value: object) -> str:
    """Return a dataclass or a sequence of them as JSON for machines."""

    def plain(item: Any) -> object:
        return dataclasses.asdict(item) if dataclasses.is_dataclass(item) and not isinstance(item, type) else str(item)

    return json.dumps(value, default=plain, indent=2, sort_keys=True)
