"""prefix.py: placeholders, `#!` lines and entry points, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helioimages.conda.prefix import entry_point_script, replace_binary, replace_text
from helioimages.core.errors import HelioError

OLD = "/old/" + "o" * 250
NEW = "/srv/conda/envs/notebook"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("a @ b @\n", f"a {NEW} b {NEW}\n"),
        ("#!@/bin/sh -e\n@\n", f"#!{NEW}/bin/sh -e\n{NEW}\n"),
        (f"#!@/bin/{'y' * 99} -e\n", f"#!/usr/bin/env {'y' * 99} -e\n"),
        (f"#!@/bin/{'y' * 96}", f"#!{NEW}/bin/{'y' * 96}"),
        (
            f"#!@/{'y' * 99}/python3.13 -I\n",
            f"#!/bin/sh\n'''exec' \"{NEW}/{'y' * 99}/python3.13\" -I \"$0\" \"$@\" #'''\n",
        ),
        (f"#!{'y' * 200}\n", f"#!{'y' * 200}\n"),
    ],
)
def test_text(before: str, after: str) -> None:
    assert replace_text(before.replace("@", OLD).encode(), OLD, NEW, "linux-64") == after.encode()


def test_a_long_line_is_fine_on_a_kernel_that_takes_it() -> None:
    before = f"#!{OLD}/bin/{'y' * 99}\n".encode()
    assert replace_text(before, OLD, NEW, "osx-arm64") == f"#!{NEW}/bin/{'y' * 99}\n".encode()


def test_a_long_python_line_still_runs(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40) / "bin"
    folder.mkdir(parents=True)
    (folder / "python3").symlink_to(sys.executable)
    script = tmp_path / "script"
    text = f"#!{OLD}/bin/python3 -I\nimport sys\nprint(sys.argv[1:], sys.flags.isolated)\n"
    script.write_bytes(replace_text(text.encode(), OLD, str(folder.parent), "linux-64"))
    script.chmod(0o755)
    assert script.read_bytes().startswith(b"#!/bin/sh\n")
    done = subprocess.run([str(script), "a b", "c"], capture_output=True, text=True, check=True)
    assert done.stdout == "['a b', 'c'] 1\n"


def test_binary_replaces_each_string_and_pads_its_end() -> None:
    before = f"\0{OLD}/a:{OLD}/b\0tail\0{OLD}".encode()
    padding = "\0" * (len(OLD) - len(NEW))
    assert replace_binary(before, OLD, NEW) == f"\0{NEW}/a:{NEW}/b{padding * 2}\0tail\0{NEW}{padding}".encode()


@given(st.lists(st.sampled_from([OLD.encode(), b"\0", b"x", b"/y", b"\xff"]), max_size=20).map(b"".join))
def test_binary_keeps_the_size_and_loses_the_placeholder(data: bytes) -> None:
    after = replace_binary(data, OLD, NEW)
    assert len(after) == len(data)
    assert OLD.encode() not in after
    assert after.count(NEW.encode()) == data.count(OLD.encode())
    assert [part for part in after.split(b"\0") if part] == [
        part.replace(OLD.encode(), NEW.encode()) for part in data.split(b"\0") if part
    ]


def test_a_prefix_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^/longer has 7 bytes, the placeholder 4$"):
        replace_binary(b"/old\0", "/old", "/longer")


def test_entry_point() -> None:
    assert entry_point_script("tool = pkg.cli:App.run", NEW, "3.13", "linux-64", "tool-1-0.conda") == (
        "tool",
        f"""\
#!{NEW}/bin/python3.13
# -*- coding: utf-8 -*-
import re
import sys

from pkg.cli import App

if __name__ == '__main__':
\tsys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
\tsys.exit(App.run())
""".encode(),
    )


@pytest.mark.parametrize("line", ["", "tool", "tool = pkg", "../up = a:b", "a = b:c; import os", "a = b:c\nimport os"])
def test_not_an_entry_point(line: str) -> None:
    with pytest.raises(HelioError) as caught:
        entry_point_script(line, NEW, "3.13", "linux-64", "tool-1-0.conda")
    assert str(caught.value) == (
        f"`tool-1-0.conda` has an entry point that cannot be understood: {line!r}\n"
        "  expected `command = package.module:function`\n"
        "\n"
        "hint: the package is malformed; do not use it"
    )
