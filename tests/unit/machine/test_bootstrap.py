"""What a fresh clone says to a Python that is too old: one line and a way out, no traceback."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helioimages.core.errors import Stage
from helioimages.machine import bootstrap
from helioimages.verbs.errors import _ToldError

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "buildimages.py"
BOOTSTRAP = ROOT / "tools" / "helioimages" / "machine" / "bootstrap.py"
# Read before the version is looked at, in this order.
FIRST = (TOOL, ROOT / "tools/helioimages/__init__.py", BOOTSTRAP.with_name("__init__.py"), BOOTSTRAP)
# As runpy runs a program, but for the version.
AS = (
    "import runpy, sys\n"
    "sys.version_info = (3, 10, 13, 'final', 0)\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)


def old(*words: str, path: Path) -> tuple[int, str]:
    """Run a program as Python 3.10 would, with one folder as PATH."""
    done = subprocess.run(
        [sys.executable, "-c", AS, *words], capture_output=True, text=True, env={"PATH": str(path)}, timeout=60
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.replace(sys.executable, "/usr/bin/python3")


def program(path: Path, name: str, text: str) -> None:
    (path / name).write_text(text)
    (path / name).chmod(0o755)


@pytest.mark.parametrize("path", FIRST, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_old_python_can_read_what_looks_at_the_version(path):
    text = path.read_text("utf-8")
    ast.parse(text, feature_version=(3, 6))
    # Of 3.7; `feature_version` does not look at it.
    assert "from __future__ import annotations" not in text


def test_what_only_a_new_python_can_evaluate_stands_below_the_look_at_the_version():
    above = BOOTSTRAP.read_text("utf-8").partition("\nif sys.version_info < (3, 11):")[0]
    assert above.count("def ") == 3
    # `list[str]` of 3.9 and `str | None` of 3.10 are evaluated where a function is defined.
    assert re.findall(r"def \w+\(.*\[|def .*\|", above) == []


def test_the_newest_python_that_starts_is_named(tmp_path):
    (tmp_path / "python3.12").symlink_to(sys.executable)
    program(tmp_path, "python3.9", "#!/bin/sh\nexit 0\n")
    program(tmp_path, "python3.14", "#!/bin/sh\nexit 127\n")  # a version manager's name for one that it lacks
    program(tmp_path, "python3.15", "no program")
    code, text = old(str(TOOL), "up", "base", "--root", "a folder", path=tmp_path)
    assert (code, text) == (
        11,
        "error: Python 3.11 or newer is needed, and this is 3.10 (/usr/bin/python3)\n\n"
        f"hint: run `python3.12 {TOOL} up base --root 'a folder'`\n",
    )


def test_without_another_python_the_systems_that_have_one_are_named(tmp_path):
    code, text = old(str(TOOL), "--help", path=tmp_path)
    assert (code, text) == (
        11,
        "error: Python 3.11 or newer is needed, and this is 3.10 (/usr/bin/python3)\n\n"
        "hint: install one; Debian 12, Ubuntu 24.04 and what came after them have it as `python3`\n",
    )


def test_a_script_that_asks_for_an_environment_is_told_how_to_have_another_python(tmp_path):
    (tmp_path / "python3.13").symlink_to(sys.executable)
    code, text = old(str(BOOTSTRAP), str(ROOT / "tests" / "requirements.lock"), path=tmp_path)
    assert (code, text.splitlines()[-1]) == (
        11,
        "hint: python3.13 is here: make it `python3`, e.g. `python3.13 -m venv new && . new/bin/activate`",
    )


def test_a_store_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path):
    (tmp_path / "store").touch()
    done = subprocess.run(
        [sys.executable, str(BOOTSTRAP), str(ROOT / "tools" / "requirements.lock")],
        capture_output=True,
        text=True,
        env={"HELIOIMAGES_STORE": str(tmp_path / "store")},
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (11, "")
    assert done.stderr.startswith(f"error: cannot write {tmp_path}/store/tool/")
    assert done.stderr.endswith(
        f"\n  [Errno 20] Not a directory: '{tmp_path}/store/tool'\n\n"
        "hint: check the space and rights of the store, or name another folder: HELIOIMAGES_STORE\n"
    )


def test_an_interrupt_waits_until_the_other_python_lets_it_through(tmp_path):
    """A Python that starts shows a traceback of an interrupt in its first moments, so it is held back."""
    tool = (
        "import os, signal, sys\n"
        "from helioimages.machine import bootstrap\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "bootstrap.importlib.util.find_spec = lambda name: None\n"
        "def environment(lock):\n"
        "    # Between the two Pythons.\n"
        "    def start(program, words):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        real(program, words)\n"
        "    real, os.execv = os.execv, start\n"
        "    return sys.executable\n"
        "bootstrap.environment = environment\n"
        f"sys.argv = [{str(TOOL)!r}, 'build', '--json']\n"
        "bootstrap.ensure()\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "HELIOIMAGES_BOOTSTRAPPED"}
    done = subprocess.run(
        [sys.executable, "-c", tool],
        capture_output=True,
        text=True,
        env=env | {"PYTHONPATH": str(TOOL.parent), "HELIOIMAGES_STORE": str(tmp_path)},
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert [json.loads(line)["error"]["code"] for line in done.stderr.splitlines()] == [130]


@pytest.mark.parametrize("words", [("lock", "--json"), ("lock", "helio", "--", "--json"), ("lock",)])
def test_an_old_python_is_told_as_json_where_that_is_asked_for(tmp_path, words):
    code, text = old(str(TOOL), *words, path=tmp_path)
    assert code == 11
    if words != ("lock", "--json"):
        assert text.startswith("error: Python 3.11 or newer is needed")
        return
    (line,) = text.splitlines()
    error = json.loads(line)["error"]
    assert (error["stage"], error["code"], error["hint"].split(";")[0]) == ("host", 11, "install one")
    assert error["message"].startswith("Python 3.11 or newer is needed, and this is 3.10 (")
    # One reader reads these and all others.
    assert error.keys() == {field.name for field in dataclasses.fields(_ToldError)}


def test_the_code_is_that_of_the_machine():
    assert bootstrap._HOST == Stage.HOST


@pytest.fixture
def told(monkeypatch, capsys, tmp_path):
    """Return what a piece of the bootstrap tells as JSON; the store is a folder of the test."""
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["buildimages.py", "build", "--json"])

    def ask(piece: Callable[[], object]) -> dict[str, object]:
        with pytest.raises(SystemExit) as caught:
            piece()
        said = capsys.readouterr()
        assert (caught.value.code, said.out) == (11, "")
        return json.loads(said.err.splitlines()[-1])["error"]

    return ask


def test_a_store_that_cannot_be_written_is_told_as_json(told, tmp_path):
    (tmp_path / "tool").touch()
    error = told(lambda: bootstrap.environment(bootstrap.LOCK))
    assert error["message"].startswith(f"cannot write {tmp_path}/tool/")
    assert "HELIOIMAGES_STORE" in error["hint"]


def test_what_a_failed_program_said_is_the_detail(told):
    program = "print(*range(99), sep='\\n'); raise SystemExit(3)"
    error = told(lambda: bootstrap._run([sys.executable, "-c", program], "ask pip"))
    assert error["message"] == f"`{sys.executable} -c {program} …` failed with 3"
    assert error["detail"].splitlines() == [str(number) for number in range(79, 99)]
    assert error["hint"] == "ask pip"


@pytest.mark.parametrize("lacking", ["apt-get", "sudo"])
def test_where_venv_is_not_there_and_cannot_be_installed(told, monkeypatch, lacking):
    there = {"apt-get", "sudo"} - {lacking}
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: name if name in there else None)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    error = told(lambda: bootstrap._apt("python3.13-venv"))
    assert (error["message"], error["detail"]) == (
        "this Python lacks `venv`",
        f"it is installed by {lacking}, which is not here",
    )
    assert "apt-get install python3.13-venv" in error["hint"]


def test_dependencies_that_are_missing_in_an_installation(told, monkeypatch):
    monkeypatch.setenv("HELIOIMAGES_BOOTSTRAPPED", "1")
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda _name: None)
    error = told(bootstrap.ensure)
    assert (error["message"], error["hint"]) == (
        "the tool's dependencies are missing",
        "run `pip install .` in the checkout",
    )


def test_a_full_disk_of_the_store_is_named_where_pip_says_nothing_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["buildimages.py", "build"])
    usage = shutil.disk_usage(tmp_path)
    for free, told in ((2_000_000, True), (10**12, False)):
        monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        with pytest.raises(SystemExit) as caught:
            bootstrap._run([sys.executable, "-c", "raise SystemExit(3)"], "ask pip")
        text = capsys.readouterr().err
        assert caught.value.code == 11 and "failed with 3" in text
        assert ("hint: the disk of the store has 2,000,000 bytes free" in text) is told
        assert ("hint: ask pip" in text) is not told
