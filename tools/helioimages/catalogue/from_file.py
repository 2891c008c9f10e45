"""A catalogue.json that somebody gives, as far as hubs' configuration is made of it. Pure.

It may be of another version of this tool, or written by hand, so each value is checked before it is used.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import Stage
from ..core.reading import Form, Shape, Table, load_json
from ..oci.document import DIGEST
from .model import VERSION

_FORM = Form(
    stage=Stage.USAGE,
    message="`{file}` is not a catalogue",
    hint="`buildimages catalogue` writes one",
    comma=False,
    null_is_absent=True,
    json=True,
)
_SIGNATURE = Shape.of("none|attached|verified|bad", "one of none, attached, verified, bad")


def parse(text: str | bytes, file: str) -> dict[str, Any]:
    """Read a catalogue.

    Args:
        file: its name, for messages.

    Returns:
        what `profiles` reads of the value that `model.document` gives.

    Raises:
        HelioError: it is not a catalogue.
    """
    top = load_json(text, file, _FORM)
    top.version("version", VERSION)
    registry = top.text("registry")
    return {"registry": registry, "images": [_page(table) for table in top.tables("images", required=True)]}


def _page(table: Table) -> dict[str, Any]:
    return {key: table.text(key) for key in ("name", "title", "repository")} | {
        "entries": [_entry(entry) for entry in table.tables("entries", required=True)]
    }


def _entry(table: Table) -> dict[str, Any]:
    smoke, advisory = table.table_or_none("smoke"), table.table_or_none("advisory")
    return {
        "reference": table.text("reference"),
        "digest": table.text("digest", shape=DIGEST),
        "named": table.text("named", shape=DIGEST),
        "tags": list(table.strings("tags", required=True)),
        "size": table.whole("size", minimum=0),
        "facts": table.mapping("facts", required=True),
        "signature": table.text("signature", shape=_SIGNATURE),
        "smoke": None if smoke is None else {"passed": smoke.flag("passed")},
        "advisory": None if advisory is None else {key: advisory.text(key) for key in ("level", "reason")},
    }
