"""The packages' own suites: a strict list that stays true, and reports as pytest writes them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from helioimages.engines.engine import RunResult

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest
class TestIt:
    @pytest.mark.parametrize("at", [1, -1])
    def test_at(self, at):
        assert at > 0
def test_good(): pass
@pytest.mark.skip
def test_later(): pass
@pytest.fixture
def breaks():
    yield
    raise OSError("at the end")
def test_ends(breaks): pass
"""


@pytest.fixture(scope="module")
def suites() -> ModuleType:
    spec = importlib.util.spec_from_file_location("suites", ROOT / "tests" / "suites.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """Return pytest's own report of TESTS."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_it.py").write_text(TESTS)
    words = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--junitxml=x.xml",
        "-o",
        "junit_family=xunit1",
    ]
    subprocess.run([sys.executable, *words, "-c", "/dev/null", "test_it.py"], cwd=folder, capture_output=True)
    return (folder / "x.xml").read_text()


def test_a_report_of_pytest(suites, report):
    outcomes = {name.rpartition("::")[2]: outcome for name, outcome in suites.outcomes(report).items()}
    assert outcomes == {
        "test_at[1]": "passed",
        "test_at[-1]": "failed",
        "test_good": "passed",
        "test_later": "skipped",
        "test_ends": "failed",
    }


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"*::test_at[[]-1]": "x", "*::test_ends": "y"}, []),
        ({"*::test_at*": "x"}, ["test_ends fails"]),
        ({"*": "all"}, []),
        (
            {"*::test_at*": "x", "*::test_ends": "y", "*::test_good": "z"},
            ["test_good does not fail, and is listed as known: z"],
        ),
        ({"*": "all", "*::test_gone": "z"}, ["test_gone does not fail, and is listed as known: z"]),
    ],
)
def test_the_list_stays_true(suites, report, known, told):
    suite = suites.Suite(package="it", minutes=1, known=known)
    faults = suites.faults(suite, suites.outcomes(report))
    assert [line.rpartition("::")[2] for line in faults] == told


def test_a_suite_without_tests_is_a_fault(suites):
    suite = suites.Suite(package="it", minutes=1, known={})
    assert suites.faults(suite, {"a": "skipped"}) == ("it: no test passed",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[suites.a]\nminutes = 1\nknown = [{test = 'x'}]", "suites.a: no reason is given for x"),
        ("[suites.a]\nminutes = 1\nwhy = 2", "suites.a: why is not understood"),
    ],
)
def test_the_list_is_read_strictly(suites, text, message):
    with pytest.raises(ValueError, match=message):
        suites.read(f"plugins = []\n{text}\n")


def test_the_list_of_the_checkout(suites):
    plugins, suites_listed = suites.read(suites.LIST.read_text())
    assert {"astropy", "ndcube", "sunpy"} <= {suite.package for suite in suites_listed}
    assert all("==" in plugin for plugin in plugins)


@pytest.mark.parametrize(
    ("ran", "told"),
    [
        ({"timed_out": True, "exit_code": 137}, "it: the run took more than 0.5 minutes"),
        ({"exit_code": 4}, "it: the run ended with 4"),
        ({"exit_code": 0}, "it: the run ended with 0"),  # and left no report
    ],
)
def test_a_run_without_a_report_is_a_fault(suites, tmp_path, ran, told):
    class Engine:
        def run(self, image, argv, **options):
            assert options["timeout_s"] == 30 and "network" not in options  # none is what the engine gives by itself
            of = {"exit_code": 0, "log": "words\nthe last line", "seconds": 1.0, "peak_memory_bytes": None}
            return RunResult(**{**of, "timed_out": False, "oom_killed": False, **ran})

    suite = suites.Suite(package="it", minutes=0.5, known={})
    assert suites.run(Engine(), "image", suite, tmp_path, tmp_path) == (told, "words", "the last line")
    assert (tmp_path / "it.log").read_text() == "words\nthe last line"
