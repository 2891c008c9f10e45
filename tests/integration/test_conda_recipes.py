"""Packages of ours, one for each clause of the package format that the genuine ones at hand do not show.

Each is written member by member, as its builder would have, and linked as py-rattler installs it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conda_support import PLACEHOLDER, PREFIX, agree, write_package

OLD = "/opt/anaconda1anaconda2anaconda3"
SITE = "lib/python3.13/site-packages"
HERE = PREFIX[1:]
Files = Mapping[str, tuple[bytes | str, int]]


def _text(text: str) -> bytes:
    return text.replace("@", PLACEHOLDER).encode()


def _link_json(**noarch: Any) -> dict[str, bytes]:
    return {"info/link.json": json.dumps({"noarch": noarch, "package_metadata_version": 1}).encode()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One package: its files, how it is written, and bytes that must lie in the prefix afterwards."""

    files: Files
    options: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, bytes] = field(default_factory=dict)
    python: bool = False


def _prefixed(path: str, content: bytes, mode: str, expected: bytes, **options: Any) -> Recipe:
    return Recipe(files={path: (content, 0o755)}, options={"prefixes": {path: mode}, **options}, found={path: expected})


_LONG = "y" * 130
RECIPES: dict[str, Recipe] = {
    "own .pyc of an arch package": Recipe(
        files={f"{SITE}/m.py": (b"x = 1\n", 0o644), f"{SITE}/__pycache__/m.cpython-313.pyc": (b"\0theirs", 0o644)},
        found={f"{SITE}/__pycache__/m.cpython-313.pyc": b"\0theirs"},
    ),
    ".pyc that is a second name of another": Recipe(
        files={
            f"{SITE}/m.py": (b"x = 1\n", 0o644),
            f"{SITE}/__pycache__/m.cpython-313.pyc": (b"\0theirs", 0o644),
            f"{SITE}/__pycache__/m.cpython-313.opt-1.pyc": (f"== {SITE}/__pycache__/m.cpython-313.pyc", 0o644),
        }
    ),
    ".pyc without a source": Recipe(files={f"{SITE}/m.pyc": (b"\0bytecode", 0o644)}),
    "binary prefix in an ELF's run path": _prefixed(
        "lib/libx.so",
        _text("\x7fELF\0@/lib:@/lib64\0tail\0"),
        "binary",
        f"\x7fELF\0{PREFIX}/lib:{PREFIX}/lib64".encode() + b"\0" * (2 * (len(PLACEHOLDER) - len(PREFIX))) + b"\0tail\0",
    ),
    "binary prefix at the end of the file": _prefixed(
        "bin/x", _text("\0@"), "binary", b"\0" + PREFIX.encode() + b"\0" * (len(PLACEHOLDER) - len(PREFIX))
    ),
    "binary prefix without paths.json": _prefixed(
        "bin/x",
        _text("\0@/x\0"),
        "binary",
        f"\0{PREFIX}/x".encode() + b"\0" * (len(PLACEHOLDER) - len(PREFIX) + 1),
        paths_json=False,
    ),
    "has_prefix without paths.json": _prefixed(
        "etc/x.conf", _text("dir=@/share\n"), "text", f"dir={PREFIX}/share\n".encode(), paths_json=False
    ),
    "has_prefix without paths.json, .tar.bz2": _prefixed(
        "etc/x.conf", _text("dir=@/share\n"), "text", f"dir={PREFIX}/share\n".encode(), paths_json=False, as_bz2=True
    ),
    "has_prefix with quotes": Recipe(
        files={"share/a file.txt": (_text("@\n"), 0o644)},
        options={
            "paths_json": False,
            "info": {"info/has_prefix": f'"{PLACEHOLDER}" text "share/a file.txt"\n'.encode()},
        },
        found={"share/a file.txt": f"{PREFIX}\n".encode()},
    ),
    "the old placeholder": Recipe(
        files={"bin/old": (f"#!{OLD}/bin/sh\n".encode(), 0o755)},
        options={"paths_json": False, "as_bz2": True, "info": {"info/has_prefix": b"bin/old\n"}},
        found={"bin/old": f"#!{PREFIX}/bin/sh\n".encode()},
    ),
    "pkg-config file": _prefixed(
        "lib/pkgconfig/x.pc",
        _text("prefix=@\nlibdir=${prefix}/lib\n"),
        "text",
        f"prefix={PREFIX}\nlibdir=${{prefix}}/lib\n".encode(),
    ),
    "libtool archive": _prefixed(
        "lib/libx.la",
        _text("libdir='@/lib'\ndependency_libs=' -L@/lib -lz'\n"),
        "text",
        f"libdir='{PREFIX}/lib'\ndependency_libs=' -L{PREFIX}/lib -lz'\n".encode(),
    ),
    "sysconfig data": _prefixed(
        "lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py",
        _text("build_time_vars = {'prefix': '@'}\n"),
        "text",
        f"build_time_vars = {{'prefix': '{PREFIX}'}}\n".encode(),
    ),
    "shebang with options": _prefixed(
        "bin/x", _text("#!@/bin/perl -w -T\n"), "text", f"#!{PREFIX}/bin/perl -w -T\n".encode()
    ),
    "shebang with spaces before the interpreter": _prefixed(
        "bin/x", _text("#!   @/bin/sh\n"), "text", f"#!   {PREFIX}/bin/sh\n".encode()
    ),
    "shebang of more than 127 bytes": _prefixed(
        "bin/x", _text(f"#!@/{_LONG}/bin/perl -w\n@\n"), "text", f"#!/usr/bin/env perl -w\n{PREFIX}\n".encode()
    ),
    "shebang of Python of more than 127 bytes, with options": _prefixed(
        "bin/x",
        _text(f"#!@/{_LONG}/bin/python3.13 -E -s\nprint()\n"),
        "text",
        f"#!/bin/sh\n'''exec' \"{PREFIX}/{_LONG}/bin/python3.13\" -E -s \"$0\" \"$@\" #'''\nprint()\n".encode(),
    ),
    "shebang through env": _prefixed(
        "bin/x", _text("#!/usr/bin/env -S @/bin/python\n"), "text", f"#!/usr/bin/env -S {PREFIX}/bin/python\n".encode()
    ),
    "shebang with a carriage return": _prefixed(
        "bin/x", _text("#!@/bin/sh -e\r\necho @\r\n"), "text", f"#!{PREFIX}/bin/sh -e\r\necho {PREFIX}\r\n".encode()
    ),
    "two names of one file": Recipe(
        files={"bin/git": (b"\x7fELF", 0o755), "libexec/git-core/git": ("== bin/git", 0o755)},
        found={"libexec/git-core/git": b"\x7fELF"},
    ),
    "two names of one file with a prefix": Recipe(
        files={"bin/a": (_text("#!@/bin/sh\n"), 0o755), "bin/b": ("== bin/a", 0o755)},
        options={"prefixes": {"bin/a": "text", "bin/b": "text"}},
        found={"bin/b": f"#!{PREFIX}/bin/sh\n".encode()},
    ),
    "two names, one of them with a prefix": Recipe(
        files={"bin/a": (_text("#!@/bin/sh\n"), 0o755), "bin/b": ("== bin/a", 0o755)},
        options={"prefixes": {"bin/a": "text"}},
        found={"bin/a": f"#!{PREFIX}/bin/sh\n".encode(), "bin/b": _text("#!@/bin/sh\n")},
    ),
    "symbolic links: to a file, up, to nothing": Recipe(
        files={
            "lib/libz.so.1.3": (b"\x7fELF", 0o755),
            "lib/libz.so": ("-> libz.so.1.3", 0o777),
            "share/up": ("-> ../lib/libz.so", 0o777),
            "share/nothing": ("-> nowhere", 0o777),
        }
    ),
    "no_link": Recipe(files={"etc/x": (b"1", 0o644)}, options={"no_link": ("etc/x",)}),
    "no_link without paths.json": Recipe(
        files={"etc/x": (b"1", 0o644)}, options={"no_link": ("etc/x",), "paths_json": False}
    ),
    "noarch python with entry points": Recipe(
        files={"site-packages/x/__init__.py": (b"", 0o644), "python-scripts/y": (b"#!/bin/sh\n", 0o755)},
        options={"noarch": "python", "info": _link_json(type="python", entry_points=["x = x:main", "z=x.y:A.b"])},
        python=True,
        found={"bin/y": b"#!/bin/sh\n", f"{SITE}/x/__init__.py": b""},
    ),
    "noarch python with a .pyc of its own": Recipe(
        files={
            "site-packages/x.py": (b"", 0o644),
            "site-packages/__pycache__/x.cpython-313.pyc": (b"\0theirs", 0o644),
        },
        options={"noarch": "python", "info": _link_json(type="python")},
        python=True,
        found={f"{SITE}/__pycache__/x.cpython-313.pyc": b"\0theirs"},
    ),
    "compiled noarch": Recipe(
        files={"site-packages/x/_x.abi3.so": (b"\x7fELF", 0o755), "lib/libx.so": (b"\x7fELF", 0o755)},
        options={"noarch": "python", "info": _link_json(type="python"), "index": {"depends": ["python", "__linux"]}},
        python=True,
        found={f"{SITE}/x/_x.abi3.so": b"\x7fELF", "lib/libx.so": b"\x7fELF"},
    ),
    "noarch: true of before conda 4.3": Recipe(
        files={"share/x": (b"1", 0o644)}, options={"noarch": "generic", "info": _link_json(type="True")}
    ),
    "index without depends": Recipe(files={"share/x": (b"1", 0o644)}, options={"index": {"depends": None}}),
    "activation scripts": Recipe(
        files={
            "etc/conda/activate.d/x.sh": (_text("export X_DATA=@/share/x\n"), 0o644),
            "etc/conda/deactivate.d/x.sh": (b"unset X_DATA\n", 0o644),
        },
        options={"prefixes": {"etc/conda/activate.d/x.sh": "text"}},
        found={"etc/conda/activate.d/x.sh": f"export X_DATA={PREFIX}/share/x\n".encode()},
    ),
    "menuinst": Recipe(
        files={"Menu/x.json": (b'{"menu_name": "X"}', 0o644)}, found={"Menu/x.json": b'{"menu_name": "X"}'}
    ),
    "scripts for Windows and of another name": Recipe(
        files={"Scripts/.recipe-post-link.bat": (b"exit 1\r\n", 0o644), "bin/.other-post-link.sh": (b"exit 1\n", 0o755)}
    ),
    "a pre-unlink script, which runs when a package goes": Recipe(
        files={"bin/.recipe-pre-unlink.sh": (b"exit 1\n", 0o755)}
    ),
    "no files at all": Recipe(files={}),
    "names that are not ASCII": Recipe(files={"share/grüße/日本.txt": (b"1", 0o644)}),
    "setgid and other bits that no package needs": Recipe(files={"bin/x": (b"", 0o777), "etc/y": (b"", 0o400)}),
    "a payload folder whose name begins with info": Recipe(files={"information/x": (b"1", 0o644)}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(tmp_path: Path, name: str) -> None:
    recipe = RECIPES[name]
    channel = tmp_path / "channel"
    write_package(channel, "recipe", recipe.files, **recipe.options)
    if recipe.python:
        write_package(channel, "python", {"bin/python3.13": (b"", 0o755)}, version="3.13.5")
    for subdir in ("linux-64", "noarch"):
        (channel / subdir).mkdir(exist_ok=True)
    entries = {entry.path: entry for entry in agree(channel, tmp_path, python_version="3.13")}
    for path, expected in recipe.found.items():
        entry = entries[f"{HERE}/{path}"]
        content = entry.content or entries[entry.target].content
        assert content is not None and content.read() == expected, path


def test_there_are_enough_of_them() -> None:
    assert len(RECIPES) >= 25
