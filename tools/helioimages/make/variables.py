"""An image's variables: what image.toml sets, and what only the locks know. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..locks.read import Locks
from ..oci.image import rfc3339
from ..spec.image import ImageSpec

#: What a value of `config.env` may hold for what is known once the locks are.
FIELDS = ("{image}", "{lock}", "{version}")


def variables(line: Sequence[ImageSpec], lock: Locks) -> dict[str, str]:
    """Return what an image's config sets beyond its parent's.

    A variable with a field says something of the image that it is in, so each descendant sets it anew.

    Args:
        line: the image's ancestors and itself, the oldest first.
        lock: the image's own.
    """
    set_by_ancestors: dict[str, str] = {}
    for image in line[:-1]:
        set_by_ancestors |= image.env
    own = line[-1].env
    anew = {key: value for key, value in set_by_ancestors.items() if key not in own and _has_field(value)}
    # `labels` says the same version.
    version = rfc3339(lock.epoch)[:10].replace("-", ".")
    meaning = dict(zip(FIELDS, (line[-1].name, lock.digest, version), strict=True))
    return {key: _filled(value, meaning) for key, value in {**own, **anew}.items()}


def _has_field(value: str) -> bool:
    return any(field in value for field in FIELDS)


def _filled(value: str, meaning: Mapping[str, str]) -> str:
    for field, text in meaning.items():
        value = value.replace(field, text)
    return value
