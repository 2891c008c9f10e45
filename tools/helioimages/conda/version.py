"""The order of conda versions, which is rattler's (and conda's: ``1.0.1a`` < ``1.0.1`` < ``1.0.1post1``)."""

from __future__ import annotations


def key(text: str):
    """Return a value that compares as the version does.

    Raises:
        ValueError: conda cannot read it.
    """
    # Imported late: only an audit that meets a conda advisory needs it.
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    try:
        return Version(text)
    except InvalidVersionError as error:
        raise ValueError(str(error)) from error
