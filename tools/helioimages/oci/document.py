"""How OCI's JSON documents are read: keys of others are allowed, null counts as absent, as Docker writes it."""

from __future__ import annotations

from typing import Any

from ..core.errors import HelioError, Stage
from ..core.reading import Form, Shape, Table, parse_json
from ..core.words import count

_FORM = Form(stage=Stage.BUILD, message="malformed OCI document", comma=False, null_is_absent=True, json=True)
DIGEST = Shape.of(r"sha256:[0-9a-f]{64}", "sha256:<64 hex digits>")


def load(data: bytes, where: str) -> Any:
    """Parse JSON, refusing what two readers may read differently.

    Raises:
        HelioError: not JSON, or a key twice in one object.
    """
    try:
        return parse_json(data)
    except ValueError as error:
        raise HelioError(
            Stage.BUILD,
            f"cannot read an OCI document of {count(len(data), 'byte')}",
            where=where,
            detail=f"not JSON: {error}",
        ) from error


def node(value: Any, where: str) -> Table:
    """Return a reader of an object.

    Args:
        where: its key path, for errors.

    Raises:
        HelioError: it is not an object.
    """
    return Table(value, "", where, _FORM)
