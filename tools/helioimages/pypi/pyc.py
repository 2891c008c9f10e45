"""Compile: .pyc for every .py of a package, by the interpreter that will run them, equal bytes everywhere.

They are unchecked-hash files (PEP 552): valid whatever the mtime of the source, never looked at nor written again by
a user who may not. ``co_filename`` is the final path. The interpreter runs as a process that reads sources and writes
code objects; nothing touches the disk.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..core.entries import Content, Entry, Kind
from ..core.errors import HelioError, Stage

#: Runs inside the locked interpreter. Each file is compiled in a fork of its own: marshal writes a string as interned
#: if an equal one is interned in the process, so a process that compiled other files before writes other bytes. A fork
#: also takes the crash of a source that is nested too deeply. What does not compile has no .pyc.
_WORKER = r"""
import _imp, gc, importlib._bootstrap_external as external, os, struct, sys
gc.disable()
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
while header := read(8):
    path_size, data_size = struct.unpack("<II", header)
    path, data = read(path_size), read(data_size)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            code = compile(data, path.decode("utf-8", "surrogateescape"), "exec", dont_inherit=True, optimize=0)
            hashed = _imp.source_hash(external._RAW_MAGIC_NUMBER, data)
            with open(send, "wb") as pipe:
                pipe.write(external._code_to_hash_pyc(code, hashed, False))
        except (SyntaxError, ValueError, RecursionError, OverflowError, MemoryError):
            os._exit(1)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(2)
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as pipe:
        made = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 2:
        sys.exit(2)
    if status:
        made = b""
    write(struct.pack("<I", len(made)) + made)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A command that runs the locked CPython on this machine.

    Attributes:
        argv: the command without arguments.
        env: the whole environment it gets.
        cache_tag: e.g. ``cpython-313``, the middle of a .pyc's name.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(hash=False)
    cache_tag: str


def compile_entries(entries: Iterable[Entry], interpreter: Interpreter) -> tuple[Entry, ...]:
    """Return the .pyc entries of the .py entries; sources that do not compile have none, as with pip.

    Raises:
        HelioError: the interpreter cannot be run.
    """
    sources = [(entry, _content(entry)) for entry in entries if _is_source(entry)]
    if not sources:
        return ()
    request = bytearray()
    for entry, data in sources:
        path = f"/{entry.path}".encode("utf-8", "surrogateescape")
        request += struct.pack("<II", len(path), len(data)) + path + data
    argv = [*interpreter.argv, "-s", "-S", "-B", "-W", "ignore", "-X", "utf8", "-c", _WORKER]
    result = subprocess.run(argv, input=bytes(request), capture_output=True, env=dict(interpreter.env))
    if result.returncode:
        raise HelioError(
            Stage.LINK,
            f"cannot compile the sources of `{sources[0][0].origin}`",
            detail=result.stderr.decode("utf-8", "replace")[-600:],
            hint="run `buildimages doctor`",
        )
    made, offset = [], 0
    for entry, _ in sources:
        (size,) = struct.unpack_from("<I", result.stdout, offset)
        data = result.stdout[offset + 4 : offset + 4 + size]
        offset += 4 + size
        if size:
            made.append(_entry(cached_path(entry.path, interpreter.cache_tag), data, entry.origin))
    return tuple(made)


def cached_path(path: str, cache_tag: str) -> str:
    """Return where the .pyc of a source is. Spec: PEP 3147."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{cache_tag}.pyc"


def pack(entries: Iterable[Entry]) -> bytes:
    """Return .pyc entries as one byte string, for the cache."""
    parts = []
    for entry in entries:
        path, data = entry.path.encode("utf-8", "surrogateescape"), _content(entry)
        parts.append(struct.pack("<II", len(path), len(data)) + path + data)
    return b"".join(parts)


def unpack(data: bytes, origin: str) -> tuple[Entry, ...]:
    """Return the entries that `pack` packed.

    Raises:
        ValueError: it was cut.
    """
    entries, offset = [], 0
    while offset < len(data):
        if len(data) < offset + 8:
            raise ValueError("cut")
        path_size, size = struct.unpack_from("<II", data, offset)
        start = offset + 8 + path_size
        if len(data) < start + size:
            raise ValueError("cut")
        path = data[offset + 8 : start].decode("utf-8", "surrogateescape")
        entries.append(_entry(path, data[start : start + size], origin))
        offset = start + size
    return tuple(entries)


def _content(entry: Entry) -> bytes:
    # A file has content, and only files come here.
    assert entry.content is not None
    return entry.content.read()


def _is_source(entry: Entry) -> bool:
    return entry.kind is Kind.FILE and entry.path.endswith(".py") and "/lib/python" in entry.path


def _entry(path: str, data: bytes, origin: str) -> Entry:
    return Entry(path=path, kind=Kind.FILE, mode=0o644, content=Content.of(data), origin=origin)
