"""Put the real prefix where a package holds a placeholder, exactly as rattler and conda do. Pure.

Spec: conda CEP 34 (``prefix_placeholder`` and ``file_mode``); the kernel's limit on ``#!`` lines (execve(2)).
"""

from __future__ import annotations

import re

from ..core.errors import HelioError, Stage
from ..core.platform import Subdir
from ..core.words import count

#: The longest ``#!`` line that a kernel takes, in bytes and with the ``#!``.
_SHEBANG_LIMIT = {"linux": 127, "osx": 512}
_SHEBANG = re.compile(rb"#! *(/(?:\\ |[^ \n\r\t])*)(.*)", re.DOTALL)
_PYTHON = re.compile(rb"python(?:\d+(?:\.\d+)?)?")

_ENTRY_POINT = re.compile(r"\s*([^\s=]+)\s*=\s*([\w.]+)\s*:\s*([\w.]+)\s*")

# What conda and rattler both write (tabs included), so that their `verify` agrees with the record.
_SCRIPT = """\
#!{python}
# -*- coding: utf-8 -*-
import re
import sys

from {module} import {imported}

if __name__ == '__main__':
\tsys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
\tsys.exit({function}())
"""


def replace_text(data: bytes, placeholder: str, prefix: str, platform: Subdir) -> bytes:
    """Return a text file with every placeholder replaced and a ``#!`` line that the kernel takes.

    Args:
        data: the file.
        placeholder: the absolute prefix it was built for.
        prefix: the absolute prefix it will lie in.
        platform: e.g. ``linux-64``; limits the length of the ``#!`` line.
    """
    old, new = placeholder.encode(), prefix.encode()
    if not data.startswith(b"#!"):
        return data.replace(old, new)
    end = data.find(b"\n")
    end = len(data) if end < 0 else end
    line = data[:end].replace(old, new)
    if len(line) > _SHEBANG_LIMIT.get(platform.partition("-")[0], 127):
        line = _through_shell(line)
    return line + data[end:].replace(old, new)


def _through_shell(line: bytes) -> bytes:
    """Return a ``#!`` line (or lines) that start the same interpreter without naming it in the first 127 bytes."""
    match = _SHEBANG.fullmatch(line)
    if match is None:
        return line
    path, arguments = match.groups()
    name = path.rpartition(b"/")[2]
    if _PYTHON.fullmatch(name):
        # To sh it is `exec python … script args`; to Python, which ignores the `#!` line, it is a string literal.
        return b"#!/bin/sh\n'''exec' \"" + path + b'"' + arguments + b' "$0" "$@" #\'\'\''
    return b"#!/usr/bin/env " + name + arguments


def replace_binary(data: bytes, placeholder: str, prefix: str) -> bytes:
    """Return a binary file of the same size: in each C string, placeholders replaced, and NULs added at its end.

    Raises:
        ValueError: the prefix is longer than the placeholder, so it cannot fit.
    """
    old, new = placeholder.encode(), prefix.encode()
    if len(new) > len(old):
        raise ValueError(f"{prefix} has {count(len(new), 'byte')}, the placeholder {len(old)}")
    parts: list[bytes] = []
    done = 0
    while (start := data.find(old, done)) >= 0:
        end = data.find(b"\0", start)
        end = len(data) if end < 0 else end
        parts += [data[done:start], data[start:end].replace(old, new).ljust(end - start, b"\0")]
        done = end
    parts.append(data[done:])
    return b"".join(parts)


def entry_point_script(line: str, prefix: str, python_version: str, platform: Subdir, origin: str) -> tuple[str, bytes]:
    """Return the command's name and its script, for an entry point of a noarch python package.

    Args:
        line: ``command = package.module:object.function``.
        python_version: major and minor, e.g. ``3.13``.
        origin: the package, for messages.

    Raises:
        HelioError: the line is not an entry point.
    """
    match = _ENTRY_POINT.fullmatch(line)
    if match is None or "/" in match[1]:
        raise HelioError(
            Stage.LINK,
            f"`{origin}` has an entry point that cannot be understood: {line!r}",
            detail="expected `command = package.module:function`",
            hint="the package is malformed; do not use it",
        )
    command, module, function = match.groups()
    script = _SCRIPT.format(
        python=f"{prefix}/bin/python{python_version}",
        module=module,
        imported=function.partition(".")[0],
        function=function,
    ).encode()
    if len(script.partition(b"\n")[0]) > _SHEBANG_LIMIT.get(platform.partition("-")[0], 127):
        first, _, rest = script.partition(b"\n")
        script = _through_shell(first) + b"\n" + rest
    return command, script
