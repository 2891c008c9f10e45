"""Compiling, by the Python that runs the tests: what is tested holds for any."""

from __future__ import annotations

import importlib.util
import marshal
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from helioimages.core.entries import directory, file
from helioimages.core.errors import HelioError
from helioimages.pypi import pyc
from helioimages.pypi.pyc import Interpreter, cached_path, compile_entries, pack, unpack

SITE = "srv/conda/envs/notebook/lib/python3.13/site-packages"


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    env = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "PATH": os.defpath}
    return Interpreter(argv=(sys.executable,), env=env, cache_tag=sys.implementation.cache_tag)


def sources(count: int = 30):
    # The names and strings of one are in the others too: what a process compiled before must not matter.
    text = (
        "def outer():\n    class foo:\n        a = 'outer.<locals>.foo'\n        b = {'x y', 'z', 1000}\n"
        "    return foo, 'name %d', (1.5, b'q', 'x y'), 'outer.<locals>.foo'\n"
    )
    return [file(f"{SITE}/demo/m{n}.py", (text % (n % 5)).encode(), origin="demo-1") for n in range(count)]


def test_equal_bytes_in_any_order_and_company(interpreter):
    entries = sources()
    expected = {entry.path: entry.content.read() for entry in compile_entries(entries, interpreter)}
    assert len(expected) == len(entries)
    for seed in range(3):
        random.Random(seed).shuffle(entries)
        compiled = {entry.path: entry.content.read() for entry in compile_entries(entries, interpreter)}
        assert compiled == expected
    alone = {e.path: e.content.read() for entry in entries[:5] for e in compile_entries([entry], interpreter)}
    assert alone.items() <= expected.items()


def in_forks(entries, interpreter: Interpreter) -> dict[str, bytes]:
    """Return path -> .pyc as a fork for each file makes it."""
    sources = [pyc._PythonFile(entry=entry, data=entry.content.read()) for entry in entries]
    made = zip(sources, pyc._alone(sources, interpreter), strict=True)
    return {cached_path(source.entry.path, interpreter.cache_tag): data for source, data in made if data}


def together(entries, interpreter: Interpreter) -> list[str]:
    """Return the names of the files that one process may compile."""
    sources = [pyc._PythonFile(entry=entry, data=entry.content.read()) for entry in entries]
    return [sources[number].entry.path.rpartition("/")[2] for number in pyc._together(sources, interpreter)]


needs_known = pytest.mark.skipif(
    sys.implementation.cache_tag not in pyc._KNOWN, reason="nobody compared what this Python makes of files together"
)

#: What one process would write otherwise than forks, the second of each pair because of the first.
OTHERWISE = {
    # The first interns `A.B`, which the second has as the name of a class and as its `__qualname__`.
    "name": ("class A:\n    def B(): pass\n", "class A:\n    class B: pass\n"),
    "literal": ("import a.b\n", "import a.b\nx = 'a.b'\n"),
    # Two functions share one set, until a string in it is another object.
    "set": ("new_word = 1\n", "def f(x): return x in {'new_word'}\ndef g(x): return x in {'new_word'}, 77\n"),
}


@needs_known
@pytest.mark.parametrize("case", OTHERWISE)
def test_what_other_files_would_change_is_compiled_by_itself(interpreter, case):
    texts = {"first.py": OTHERWISE[case][0], "second.py": OTHERWISE[case][1], "third.py": "class Other: pass\n"}
    entries = [file(f"{SITE}/demo/{name}", text.encode(), origin="demo-1") for name, text in texts.items()]
    assert together(entries, interpreter) == ["first.py", "third.py"]
    assert {e.path: e.content.read() for e in compile_entries(entries, interpreter)} == in_forks(entries, interpreter)


@pytest.mark.skipif(sys.implementation.cache_tag != "cpython-313", reason="CPython 3.11 interns less")
@pytest.mark.parametrize("case", ["name", "set"])
def test_and_it_would_be_changed_indeed(interpreter, case, monkeypatch):
    entries = [
        file(f"{SITE}/demo/{number}.py", text.encode(), origin="demo-1") for number, text in enumerate(OTHERWISE[case])
    ]
    careless = pyc._TOGETHER.replace('made = b""', "pass")
    assert careless != pyc._TOGETHER
    monkeypatch.setattr(pyc, "_TOGETHER", careless)
    assert {e.path: e.content.read() for e in compile_entries(entries, interpreter)} != in_forks(entries, interpreter)


@needs_known
@pytest.mark.parametrize("package", ["asyncio", "email", "importlib", "json", "unittest", "xml"])
def test_real_packages_compiled_together_are_as_in_forks(interpreter, package):
    folder = Path(os.__file__).parent / package
    entries = [
        file(f"{SITE}/{path.relative_to(folder.parent)}", path.read_bytes(), origin="std-1")
        for path in sorted(folder.rglob("*.py"))
    ]
    expected = in_forks(entries, interpreter)
    assert len(expected) == len(entries) > 3
    assert {e.path: e.content.read() for e in compile_entries(entries, interpreter)} == expected
    # Else it would be no faster.
    assert len(together(entries, interpreter)) > len(entries) // 2


@needs_known
@pytest.mark.parametrize("bad", [b"print 'python 2'\n", b"-" * 200_000 + b"1"])
def test_after_a_source_that_ends_the_process_the_others_are_compiled_together(interpreter, bad):
    entries = sources(6)
    entries.insert(3, file(f"{SITE}/demo/bad.py", bad, origin="demo-1"))
    plain = [file(entry.path, b"x = %d\n" % number, origin="demo-1") for number, entry in enumerate(entries)]
    plain[3] = entries[3]
    assert together(plain, interpreter) == [f"m{n}.py" for n in range(6)]
    assert {e.path: e.content.read() for e in compile_entries(entries, interpreter)} == in_forks(entries, interpreter)


@needs_known
def test_a_module_that_compiling_imports_ends_the_process(interpreter, monkeypatch):
    # As Python does for names that are not ASCII.
    monkeypatch.setattr(
        pyc, "_TOGETHER", pyc._TOGETHER.replace("    if len(sys", "    import colorsys\n    if len(sys")
    )
    entries = sources(3)
    assert together(entries, interpreter) == []
    assert {e.path: e.content.read() for e in compile_entries(entries, interpreter)} == in_forks(entries, interpreter)


def test_an_interpreter_that_nobody_compared_forks_for_each_file(interpreter, monkeypatch):
    monkeypatch.setattr(pyc, "_KNOWN", ())
    monkeypatch.setattr(pyc, "_TOGETHER", "raise SystemExit('not asked')")
    assert len(compile_entries(sources(3), interpreter)) == 3


def test_the_file_is_an_unchecked_hash_one_with_the_final_path(interpreter):
    source = b"value = 42\n"
    (made,) = compile_entries([file(f"{SITE}/demo/a.py", source, origin="demo-1")], interpreter)
    data = made.content.read()
    assert made.path == f"{SITE}/demo/__pycache__/a.{interpreter.cache_tag}.pyc"
    assert (made.mode, made.uid, made.gid, made.origin) == (0o644, 0, 0, "demo-1")
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert struct.unpack("<I", data[4:8]) == (0b01,)
    assert data[8:16] == importlib.util.source_hash(source)
    code = marshal.loads(data[16:])
    assert code.co_filename == f"/{SITE}/demo/a.py"
    space: dict = {}
    exec(code, space)
    assert space["value"] == 42


@pytest.mark.parametrize(
    "source",
    [
        b"print 'python 2'\n",
        b"\x00",
        b"# coding: no-such\n",
        b"x = '\xff'\n",
        b"(" * 5000 + b")" * 5000,
        b"-" * 200_000 + b"1",
    ],
)
def test_what_does_not_compile_has_no_pyc_and_harms_nobody(interpreter, source):
    good = file(f"{SITE}/demo/good.py", b"1", origin="demo-1")
    bad = file(f"{SITE}/demo/bad.py", source, origin="demo-1")
    made = compile_entries([bad, good], interpreter)
    assert [entry.path for entry in made] == [cached_path(good.path, interpreter.cache_tag)]


def test_only_modules_are_compiled(interpreter):
    entries = [
        directory(f"{SITE}/x.py"),
        file("srv/conda/envs/notebook/bin/tool.py", b"1"),
        file(f"{SITE}/data.txt", b"1"),
    ]
    assert compile_entries(entries, interpreter) == ()


def test_compiled_files_import_and_are_used(interpreter, tmp_path):
    entries = [file(f"{SITE}/mod.py", b"print('source')\n", origin="m")]
    source = tmp_path / "mod.py"
    (made,) = compile_entries(entries, interpreter)
    source.write_bytes(b"print('another source')\n")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / made.path.rpartition("/")[2]).write_bytes(made.content.read())
    # Unchecked: the source beside it is not looked at, whatever its time.
    result = subprocess.run([sys.executable, "-c", "import mod"], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == "source\n"


def test_pack_and_unpack(interpreter):
    made = compile_entries(sources(3), interpreter)
    again = unpack(pack(made), "demo-1")
    assert [(e.path, e.origin, e.mode, e.content.read()) for e in again] == [
        (e.path, e.origin, e.mode, e.content.read()) for e in made
    ]
    assert unpack(pack(()), "x") == ()


def test_an_interpreter_that_does_not_run(interpreter, tmp_path):
    broken = Interpreter(argv=("/bin/false",), env={}, cache_tag="x")
    with pytest.raises(HelioError) as caught:
        compile_entries(sources(1), broken)
    assert caught.value.message == "cannot compile the sources of `demo-1`"


@pytest.mark.parametrize("left", [1, 7, 8, 20, -1])
def test_a_cache_that_was_cut_is_told(left):
    whole = pack([file(f"{SITE}/demo/__pycache__/a.pyc", b"code", origin="demo-1")])
    with pytest.raises(ValueError, match=r"^cut$"):
        unpack(whole[:left], "demo-1")


def test_assertions_and_docstrings_are_compiled_too(interpreter):
    source = b"def f(x):\n    'Say.'\n    assert x\n    return x\n"
    (made,) = compile_entries([file(f"{SITE}/demo/a.py", source, origin="demo-1")], interpreter)
    space: dict = {}
    exec(marshal.loads(made.content.read()[16:]), space)
    assert space["f"].__doc__ == "Say."
    with pytest.raises(AssertionError):
        space["f"](0)
