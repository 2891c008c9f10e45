"""The order of conda versions, which is rattler's (and conda's: ``1.0.1a`` < ``1.0.1`` < ``1.0.1post1``)."""

from __future__ import annotations

from typing import Any


def key(text: str) -> Any:
    """Return a value that compares as the version does.

    Raises:
        ValueError: conda cannot read it.
    """
    # Imported late: it costs some 40 ms, and most verbs compare no conda versions.
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    try:
        return Version(text)
    except InvalidVersionError as error:
        raise ValueError(str(error)) from error
