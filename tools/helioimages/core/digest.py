"""Digests in OCI's spelling, ``sha256:<64 lower-case hex>``.

Spec: OCI image-spec v1.1, descriptor.md, section "Digests".
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: A digest without its algorithm.
HEX = re.compile(r"[0-9a-f]{64}")


def of_bytes(data: bytes) -> str:
    """Return the digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Say whether ``text`` is a whole sha256 digest."""
    return _DIGEST.fullmatch(text) is not None


def is_hex(text: str) -> bool:
    """Say whether ``text`` is 64 lower-case hexadecimal digits."""
    return HEX.fullmatch(text) is not None


def canonical_json(value: Any) -> bytes:
    """Return one byte string for equal values: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def key_of(value: Any) -> str:
    """Return 64 hexadecimal digits naming ``value`` (a JSON value), for memo and cache keys."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
