"""What is imported only by who uses it.

jsonschema, which nbformat imports too, checks IRIs by a package that compiles 38 grammars when it is imported: a second
in each process, and few documents have an IRI.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

_NAME = "rfc3987_syntax"
_STAND_IN = ModuleType(_NAME)


def _is_valid_syntax(*arguments: object) -> bool:
    if sys.modules.get(_NAME) is _STAND_IN:
        del sys.modules[_NAME]
    return bool(importlib.import_module(_NAME).is_valid_syntax(*arguments))


def put_off() -> None:
    """Let the package be imported at the first IRI, by this process's jsonschema."""
    if _NAME not in sys.modules and importlib.util.find_spec(_NAME):
        _STAND_IN.__dict__["is_valid_syntax"] = _is_valid_syntax
        sys.modules[_NAME] = _STAND_IN
