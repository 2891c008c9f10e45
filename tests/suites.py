#!/usr/bin/env python3
"""Run the packages' own test suites in an image: without network, one package after another, against `suites.toml`.

    tests/suites.py IMAGE [--package NAME]... [--out FOLDER]

IMAGE is a reference that the engine has or can pull. Versions that break each other are found here: a failure that is
not listed, and a listed one that passes, end the run with 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools")]

from helioimages.machine import bootstrap  # noqa: E402

if __name__ == "__main__":
    bootstrap.ensure()

from helioimages.core.errors import HelioError  # noqa: E402
from helioimages.engines import engine  # noqa: E402
from helioimages.machine.store import Store, default_root  # noqa: E402

LIST = ROOT / "tests" / "suites.toml"
#: What a container of the run may use, and whom it runs as.
MEMORY, UID = "6g", 1000
#: What pytest ends with when tests failed: that is judged by their names. Spec: pytest, "Exit codes".
TESTS_FAILED = 1
_PYTEST = (
    *("python", "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short"),
    *("--junitxml=/out/junit.xml", "-o", "junit_family=xunit1"),
)
_INSTALL = ("pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One package's suite.

    Attributes:
        package: what pytest imports (``--pyargs``).
        minutes: that it may take.
        known: pattern of a test's name -> why it fails.
    """

    package: str
    minutes: float
    known: Mapping[str, str]


def read(text: str) -> tuple[tuple[str, ...], tuple[Suite, ...]]:
    """Read `suites.toml`: the plugins, and the suites by name.

    Raises:
        ValueError: a key is not understood, or a known failure has no reason.
    """
    document = tomllib.loads(text)
    suites = []
    for package, table in sorted(document["suites"].items()):
        known = {entry["test"]: str(entry.get("reason", "")).strip() for entry in table.pop("known", ())}
        if without := [test for test, reason in known.items() if not reason]:
            raise ValueError(f"suites.{package}: no reason is given for {without[0]}")
        suites.append(Suite(package=package, minutes=float(table.pop("minutes")), known=known))
        if table:
            raise ValueError(f"suites.{package}: {min(table)} is not understood")
    return tuple(document["plugins"]), tuple(suites)


def outcomes(junit: str) -> dict[str, str]:
    """Return test -> ``passed``, ``skipped`` or ``failed``, of a JUnit report of pytest.

    A test that fails and whose end fails too is there twice; one failure counts.
    """
    outcomes_by_test: dict[str, str] = {}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        if outcomes_by_test.get(name) != "failed":
            outcomes_by_test[name] = outcome
    return outcomes_by_test


def faults(suite: Suite, outcomes_by_test: Mapping[str, str]) -> tuple[str, ...]:
    """Return what is not as the list says, a line each."""
    told = []
    if "passed" not in outcomes_by_test.values():
        told.append(f"{suite.package}: no test passed")
    for name, outcome in outcomes_by_test.items():
        if outcome == "failed" and not any(fnmatch.fnmatchcase(name, pattern) for pattern in suite.known):
            told.append(f"{name} fails")
    for pattern, reason in suite.known.items():
        fitting = [outcome for name, outcome in outcomes_by_test.items() if fnmatch.fnmatchcase(name, pattern)]
        if "failed" not in fitting:
            told.append(f"{pattern} does not fail, and is listed as known: {reason}")
    return tuple(told)


def run(at: engine.Engine, image: str, suite: Suite, plugins: Path, out: Path) -> tuple[str, ...]:
    """Run one suite, and return what is not as the list says; the report and the log stay in ``out``."""
    with tempfile.TemporaryDirectory(prefix="suites-") as scratch:
        folder = Path(scratch)
        # The container's user must be able to write it, whoever we are.
        folder.chmod(0o777)
        ran = at.run(
            image,
            [*_PYTEST, "--pyargs", suite.package],
            user=str(UID),
            memory=MEMORY,
            mounts={"/plugins": (plugins, "ro"), "/out": (folder, "rw")},
            tmpfs={"/home/jovyan": f"rw,exec,uid={UID},gid={UID},mode=0755", "/dev/shm": "rw,size=1g"},
            env={"PYTHONPATH": "/plugins", "MPLBACKEND": "Agg"},
            workdir="/out",
            timeout_s=suite.minutes * 60,
        )
        (out / f"{suite.package}.log").write_text(ran.log)
        report = folder / "junit.xml"
        if ran.timed_out or ran.oom_killed or not report.exists() or ran.exit_code not in (0, TESTS_FAILED):
            why = f"took more than {suite.minutes:g} minutes" if ran.timed_out else f"ended with {ran.exit_code}"
            return (f"{suite.package}: the run {why}", *ran.log.splitlines()[-15:])
        shutil.copyfile(report, out / f"{suite.package}.xml")
    outcomes_by_test = outcomes((out / f"{suite.package}.xml").read_text())
    told = faults(suite, outcomes_by_test)
    counts = ", ".join(
        f"{sum(outcome == kind for outcome in outcomes_by_test.values())} {kind}"
        for kind in ("passed", "failed", "skipped")
    )
    print(
        f"{suite.package}: {counts} in {ran.seconds:.0f} s{f', {len(told)} not as listed' if told else ''}", flush=True
    )
    return told


def install(plugins: tuple[str, ...], folder: Path) -> None:
    """Put pytest's plugins into a folder, without what they need: the image has that."""
    import uv  # found late: reading the list needs no program

    subprocess.run(
        [uv.find_uv_bin(), *_INSTALL, "--target", str(folder), *plugins],
        check=True,
    )
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def main(words: list[str]) -> int:
    """Run the suites that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--package", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("suites-report"))
    asked = parser.parse_args(words)
    plugins, suites = read(LIST.read_text())
    if strange := set(asked.package) - {suite.package for suite in suites}:
        parser.error(f"{LIST.name} has no {min(strange)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    told: list[str] = []
    try:
        at = engine.connect(Store(default_root()))
        at.pull(asked.image)
        with tempfile.TemporaryDirectory(prefix="suites-plugins-") as scratch:
            install(plugins, Path(scratch))
            for suite in suites:
                if not asked.package or suite.package in asked.package:
                    told += run(at, asked.image, suite, Path(scratch), asked.out.resolve())
    except HelioError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.stage)
    print("\n".join(told))
    return 1 if told else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
