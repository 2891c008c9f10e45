"""Compile: .pyc for every .py of a package, by the interpreter that will run them, equal bytes everywhere.

They are unchecked-hash files (PEP 552): valid whatever the mtime of the source, never looked at nor written again by
a user who may not. ``co_filename`` is the final path. The interpreter runs as a process that reads sources and writes
code objects; nothing touches the disk.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..core.entries import Content, Entry, Kind
from ..core.errors import HelioError, Stage

#: Both run inside the locked interpreter. This one compiles each file in a fork of its own, and what it says of a file
#: is what its .pyc is: marshal writes a string as interned if an equal one is interned in the process, so a process
#: that compiled other files before writes other bytes. A fork also takes the crash of a source that is nested too
#: deeply. What does not compile has no .pyc. The names in this text are interned too: another text makes other bytes.
_ALONE = r"""
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


#: This one compiles one file after another, which takes half the time, and gives no .pyc where a fork might give other
#: bytes. What was interned before decides in two cases, and in no other (see CPython's ``intern_constants``,
#: ``init_code`` and marshal's ``w_ref``):
#:
#: * A string that is both a name and a constant of a file, e.g. the ``__qualname__`` of a class in a class. Names are
#:   interned always, constants if they consist of letters, digits and underscores. If such a name ("A.B") is new to the
#:   process, one object stays both; else another takes its place as a name, and the constant stays as it was.
#: * A frozenset that several code objects share: each gets its own if a string in it was interned before.
#:
#: It ends where it cannot know what was interned: by a source that does not compile, or by a module that was imported.
_TOGETHER = r"""
import _imp, gc, importlib._bootstrap_external as external, struct, sys
gc.disable()
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
before, modules = set(), len(sys.modules)
while header := read(8):
    path_size, data_size = struct.unpack("<II", header)
    path, data = read(path_size), read(data_size)
    try:
        code = compile(data, path.decode("utf-8", "surrogateescape"), "exec", dont_inherit=True, optimize=0)
        hashed = _imp.source_hash(external._RAW_MAGIC_NUMBER, data)
        made = external._code_to_hash_pyc(code, hashed, False)
    except Exception:
        break
    if len(sys.modules) != modules:
        break
    # Only now, since marshal looks at the number of references too.
    codes, names, texts, sets = [code], set(), set(), set()
    for one in codes:
        names.update(one.co_names, one.co_varnames, one.co_cellvars, one.co_freevars)
        names.update((one.co_name, one.co_qualname, one.co_filename))
        consts = list(one.co_consts)
        for const in consts:
            kind = type(const)
            if kind is str:
                texts.add(const)
            elif kind is tuple:
                consts += const
            elif kind is frozenset:
                if const in sets:
                    made = b""
                sets.add(const)
                consts += const
            elif kind is type(code):
                codes.append(const)
    for text in names & texts & before:
        if not (text.isascii() and text.replace("_", "a").isalnum()):
            made = b""
    before |= names
    write(struct.pack("<I", len(made)) + made)
"""

#: Interpreters of which that is known: it was compared, file by file, on thousands of sources.
_KNOWN = ("cpython-311", "cpython-313")


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
    sources = [_PythonFile(entry=entry, data=_content(entry)) for entry in entries if _is_source(entry)]
    made = _together(sources, interpreter) if interpreter.cache_tag in _KNOWN else {}
    rest = [number for number in range(len(sources)) if number not in made]
    made |= dict(zip(rest, _alone([sources[number] for number in rest], interpreter), strict=True))
    return tuple(
        _entry(cached_path(source.entry.path, interpreter.cache_tag), made[number], source.entry.origin)
        for number, source in enumerate(sources)
        if made[number]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _PythonFile:
    """A file to compile."""

    entry: Entry
    data: bytes


def _together(sources: Sequence[_PythonFile], interpreter: Interpreter) -> dict[int, bytes]:
    """Return number -> .pyc of the sources that one process after another could compile; the others need a fork."""
    made: dict[int, bytes] = {}
    start = 0
    while start < len(sources):
        result = _run(_TOGETHER, sources[start:], interpreter)
        answers = _answers(result.stdout)
        made |= {start + number: data for number, data in enumerate(answers) if data}
        if result.returncode > 0:
            break
        # The file after the last answer ended it.
        start += len(answers) + 1
    return made


def _alone(sources: Sequence[_PythonFile], interpreter: Interpreter) -> list[bytes]:
    """Return the .pyc of each source, empty where it does not compile, by a fork for each.

    Raises:
        HelioError: the interpreter cannot be run.
    """
    if not sources:
        return []
    result = _run(_ALONE, sources, interpreter)
    if result.returncode:
        raise HelioError(
            Stage.LINK,
            f"cannot compile the sources of `{sources[0].entry.origin}`",
            detail=result.stderr.decode("utf-8", "replace")[-600:],
            hint="run `buildimages doctor`",
        )
    return _answers(result.stdout)


def _run(worker: str, sources: Sequence[_PythonFile], interpreter: Interpreter) -> subprocess.CompletedProcess[bytes]:
    request = bytearray()
    for source in sources:
        path = f"/{source.entry.path}".encode("utf-8", "surrogateescape")
        request += struct.pack("<II", len(path), len(source.data)) + path + source.data
    argv = [*interpreter.argv, "-s", "-S", "-B", "-W", "ignore", "-X", "utf8", "-c", worker]
    return subprocess.run(argv, input=request, capture_output=True, env=dict(interpreter.env))


def _answers(data: bytes) -> list[bytes]:
    """Return what a worker wrote, less what a crash cut."""
    answers, offset = [], 0
    while offset + 4 <= len(data):
        (size,) = struct.unpack_from("<I", data, offset)
        offset += 4 + size
        if offset > len(data):
            break
        answers.append(data[offset - size : offset])
    return answers


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
