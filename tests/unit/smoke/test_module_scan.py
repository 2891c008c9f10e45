"""The scan of every module, on packages made here: what fails, hangs, ends its process or writes is found and told."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "smoke-notebooks" / "helio" / "module_scan.py"
FILES = {
    "demo/__init__.py": "",
    "demo/asks.py": "input()",
    "demo/broken.py": "import no_such_module_anywhere",
    "demo/ends.py": "import os; os._exit(3)",
    "demo/good.py": "print('words on stdout'); import sys; sys.stdout.flush()",
    "demo/leaves.py": "raise SystemExit(2)",
    "demo/sub/__init__.py": "raise ValueError('one\\ntwo')",
    "demo/sub/below.py": "",
    "demo/tests/test_it.py": "raise RuntimeError('tests are no modules of it')",
    "demo/writes.py": """
import contextlib, os, sys
with contextlib.suppress(OSError):
    os.mkdir(sys.prefix + "/no/such/folder")
os.makedirs(sys.prefix, exist_ok=True)
open(sys.prefix + "/read").close()
open("in-the-scratch-folder", "w").close()
""",
    "examples/fetches.py": "raise RuntimeError('not a module of it')",
    "other/__init__.py": "raise ImportError('the fork of demo did not leave this behind')",
}
#: The scan waits five seconds for it, so it is a module of the package only where that is what a test is about.
HANGS = "demo/hangs.py"
#: The scan, with a prefix of ours and five seconds a module.
DRIVER = """
import sys
sys.path[:0] = [{site!r}, {folder!r}]
sys.prefix = {prefix!r}
import module_scan
module_scan.LIMIT_S, module_scan.COMMON = 5.0, ("json",)
module_scan.main(*sys.argv[1:])
"""
#: What is right for FILES.
EXPECTED = """
[[expected]]
modules = ["demo.asks", "demo.broken", "demo.ends", "demo.leaves", "demo.sub.*", "other"]
reason = "made so"
"""


def scan_module():
    spec = importlib.util.spec_from_file_location("module_scan", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["module_scan"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Return what scans with lists of expected failures: the second one is scanned only if it is given."""
    folder = tmp_path_factory.mktemp("scan")
    site, prefix = folder / "site", folder / "prefix"
    prefix.mkdir()
    (prefix / "read").touch()
    for name in ("demo", "other"):
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for path, text in {**FILES, HANGS: "import time; time.sleep(600)"}.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    (folder / "imports.toml").write_text('[imports]\ndemo = "demo"\nother = "other"\n')

    def scan(expected: str, *flags: str, hangs: bool = False) -> dict:
        for name in ("demo", "other"):
            mine = [path for path in FILES if path.startswith(name) or (name, path[:8]) == ("demo", "examples")]
            mine += [HANGS] if hangs and name == "demo" else []
            (site / f"{name}-1.0.dist-info" / "RECORD").write_text("".join(f"{path},,\n" for path in mine))
        (folder / "expected.toml").write_text(expected)
        driver = DRIVER.format(site=str(site), folder=str(SCRIPT.parent), prefix=str(prefix))
        files = [str(folder / "imports.toml"), str(folder / "expected.toml")]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", driver, *files, *flags],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    scan.prefix = prefix
    return scan


def test_what_is_expected_is_no_fault_but_a_write_always_is(scanned):
    report = scanned(EXPECTED)
    assert report["packages"] == {"demo": [9, 6], "other": [1, 1]}
    assert report["faults"] == [f"demo.writes tries to write {scanned.prefix}/no/such/folder"]


def test_every_kind_of_end_is_told(scanned):
    report = scanned("expected = []", "--write", hangs=True)
    told = dict(line.split(" fails: ") for line in report["faults"] if " fails: " in line)
    assert told == {
        "demo.asks": "EOFError: EOF when reading a line",
        "demo.broken": "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        "demo.ends": "ended its process with 3",
        "demo.hangs": "took more than 5 s",
        "demo.leaves": "SystemExit: 2",
        "demo.sub": "ValueError: one",
        "demo.sub.below": "ValueError: one",
        "other": "ImportError: the fork of demo did not leave this behind",
    }
    assert sorted(report["patterns"]["demo"]) == [
        "demo.asks", "demo.broken", "demo.ends", "demo.hangs", "demo.leaves", "demo.sub.*",
    ]  # fmt: skip


def test_the_list_stays_true(scanned):
    more = '[[expected]]\nmodules = ["demo.good", "demo.gone"]\nreason = "old"\n'
    absent = '[[expected]]\nmodules = ["other.*", "demo.good"]\nreason = "needs json"\nabsent = "other"\n'
    assert scanned(EXPECTED + more)["faults"][1:] == [
        "demo.good can be imported, though demo.good is expected to fail: old",
        "demo.gone is expected to fail, and no package has it",
    ]
    assert scanned(EXPECTED + absent)["faults"][1:] == []


@pytest.mark.parametrize(
    "text",
    ['modules = ["a"]\nreason = " "', 'modules = []\nreason = "x"', 'modules = ["a"]\nreason = "x"\nwhy = 1'],
)
def test_each_entry_has_a_reason_and_modules_and_nothing_else(tmp_path, text):
    path = tmp_path / "expected.toml"
    path.write_text(f"[[expected]]\n{text}\n")
    with pytest.raises(ValueError, match="expected modules, reason and maybe absent"):
        scan_module().read_expected(path)


def test_the_list_of_helio_can_be_read():
    entries = scan_module().read_expected(SCRIPT.with_name("module_scan.toml"))
    names = [pattern for entry in entries for pattern in entry.modules]
    assert len(names) == len(set(names)) > 100


@pytest.mark.parametrize(
    ("names", "failed", "expected"),
    [
        ("a a.b a.c", "a.b", ["a.b"]),
        ("a a.b a.b.c a.c", "a.b a.b.c", ["a.b.*"]),
        ("a a.b a.c", "a a.b a.c", ["a.*"]),
        ("a a.b ab ab.c", "a.b ab.c", ["a.b", "ab.c"]),
        ("a", "", []),
    ],
)
def test_the_fewest_patterns(names, failed, expected):
    assert scan_module().patterns(names.split(), failed.split()) == expected
