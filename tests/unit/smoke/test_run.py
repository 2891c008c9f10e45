"""Which notebooks run in an image, what they are given, and what their containers' ends mean. No engine is needed."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from nbformat import v4
from smoke_support import LINEAGE, REFERENCE, FakeEngine, add, ended, failing, only, run

from helioimages.core.errors import HelioError, Stage
from helioimages.engines.engine import RunOptions, RunResult
from helioimages.machine.checkout import load_images
from helioimages.smoke import room
from helioimages.smoke import run as smoke
from helioimages.smoke.books import NUMBERS
from helioimages.smoke.report import Figure
from helioimages.spec.image import SmokeSpec
from helioimages.spec.lineage import lineage

ROOT = Path(__file__).parents[3]


def test_ancestors_come_first_and_siblings_not_at_all(root: Path):
    assert [path.relative_to(root / "smoke-notebooks").as_posix() for path in smoke.notebooks(LINEAGE, root)] == [
        "base/10-y.ipynb",
        "base/30-z.ipynb",
        "helio/00-a.ipynb",
        "helio/20-b.ipynb",
    ]
    assert len(smoke.notebooks(LINEAGE[:1], root)) == 2


@pytest.mark.parametrize("jobs", [1, 4])
def test_results_are_in_the_order_of_notebooks_at_any_number_of_jobs(root: Path, jobs: int):
    engine = FakeEngine()
    report = run(engine, root, jobs=jobs)
    assert [result.name for result in report.results] == ["base/10-y", "base/30-z", "helio/00-a", "helio/20-b"]
    assert [result.title for result in report.results][:2] == ["Title of base/10-y", "Title of base/30-z"]
    assert (report.image, report.reference, report.passed) == ("helio", REFERENCE, True)
    assert engine.pulled == [REFERENCE]
    assert {run["image"] for run in engine.runs} == {REFERENCE}
    written = json.loads((root.parent / "out" / "report.json").read_text())
    assert [row["name"] for row in written["notebooks"]] == [result.name for result in report.results]
    assert (root.parent / "out" / "report.html").exists()
    assert (root.parent / "out" / "30-z.ipynb").exists()


@pytest.mark.parametrize(
    ("memory", "cpus", "has", "expected"),
    [
        # Most of a notebook takes one processor, whatever it may take of those that are free.
        ("4g", 2, (2, 64 << 30), 2),
        ("4g", 2, (8, 64 << 30), 8),
        ("4g", 2, (1, 64 << 30), 1),
        # 2 GiB are left to others.
        ("4g", 2, (8, 10 << 30), 2),
        ("4g", 2, (8, 9 << 30), 1),
        # Less than one needs: it runs all the same.
        ("4g", 2, (1, 1 << 30), 1),
        ("512m", 0.5, (2, 4 << 30), 4),
        ("524288K", 1, (64, 3 << 30), 2),
    ],
)
def test_as_many_notebooks_at_once_as_there_are_processors_and_have_memory_of_their_own(memory, cpus, has, expected):
    assert room.at_once(SmokeSpec(memory=memory, cpus=cpus), has) == expected


@pytest.mark.parametrize(("has", "expected"), [((1, 64 << 30), 1), ((2, 64 << 30), 2), ((64, 640 << 30), 4)])
def test_notebooks_run_at_once_where_there_is_room_and_the_report_says_so(root: Path, has, expected):
    gate, waiting = threading.Semaphore(0), []

    class Engine(FakeEngine):
        def run(self, *given):
            waiting.append(None)
            # The last that may be here opens for all; with fewer at once nobody would.
            if len(waiting) % expected == 0:
                gate.release(expected)
            assert gate.acquire(timeout=30)
            return super().run(*given)

    assert run(Engine(has=has), root).passed
    assert json.loads((root.parent / "out" / "report.json").read_text())["at_once"] == expected
    page = " ".join((root.parent / "out" / "report.html").read_text().split())
    assert (f"of memory, {expected} at a time." in page) == (expected > 1)


def test_a_notebook_that_measures_runs_by_itself_and_is_told_in_its_place(root: Path):
    path = root / "smoke-notebooks" / "base" / "10-y.ipynb"
    document = json.loads(path.read_text())
    document["metadata"]["helioimages"] = {"alone": True}
    path.write_text(json.dumps(document))
    beside, both, seen = threading.Lock(), threading.Barrier(3), {}

    class Engine(FakeEngine):
        def run(self, *given):
            name = Path(given[1][-1]).stem
            if name != "10-y":
                both.wait(30)
            with beside:
                seen[name] = len(self.runs)
                return super().run(*given)

    report = run(Engine(has=(8, 64 << 30)), root)
    assert [result.name for result in report.results] == ["base/10-y", "base/30-z", "helio/00-a", "helio/20-b"]
    assert seen["10-y"] == 3


def test_a_run_that_leaves_no_notebook_leaves_no_older_one_either(root: Path):
    run(FakeEngine(), root)
    kept = root.parent / "out" / "20-b.ipynb"
    assert kept.exists()
    run(FakeEngine(ends={"20-b": ended(137, oom=True)}, outputs={"20-b": None}), root)
    assert (kept.exists(), (root.parent / "out" / "30-z.ipynb").exists()) == (False, True)


def test_only_some_notebooks(root: Path):
    assert [result.name for result in run(FakeEngine(), root, only=("20-b", "10-y")).results] == [
        "base/10-y",
        "helio/20-b",
    ]


def test_a_notebook_that_is_not_there(root: Path):
    engine = FakeEngine()
    with pytest.raises(HelioError) as caught:
        run(engine, root, only=("20-b", "20", "00-other"))
    assert caught.value.stage is Stage.USAGE
    assert str(caught.value) == (
        "`helio` has no notebook `20`, `00-other`\n  expected one of 10-y, 30-z, 00-a, 20-b\n\n"
        "hint: did you mean `20-b`?"
    )
    assert (engine.pulled, engine.runs) == ([], [])


def test_an_interrupt_ends_the_containers_and_starts_no_more(root: Path, monkeypatch: pytest.MonkeyPatch):
    """It once waited for the notebooks, all of them."""
    alive, asked = threading.Event(), threading.Event()

    class Slow(FakeEngine):
        def run(self, *arguments: Any, **keywords: Any) -> RunResult:
            asked.set()
            alive.wait(60)
            return super().run(*arguments, **keywords)

        def abandon(self) -> None:
            alive.set()

    def interrupted(*_arguments: object) -> None:
        asked.wait(60)
        raise KeyboardInterrupt

    engine = Slow()
    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(engine, root)
    assert alive.is_set() and len(engine.runs) <= 1


def test_nothing_ran_is_no_pass(root: Path):
    shutil.rmtree(root / "smoke-notebooks")
    assert not run(FakeEngine(), root).passed


def test_executed_notebooks_of_one_image_lie_side_by_side():
    """A child's notebook may not be named as an ancestor's: both are copied into one report."""
    images = load_images(ROOT)
    for name in images:
        names = [path.name for path in smoke.notebooks(lineage(images, name), ROOT)]
        assert len(set(names)) == len(names), name


def test_a_container_is_given_what_a_hub_would_give(root: Path):
    engine = FakeEngine()
    run(engine, root, only=("20-b",))
    (given,) = engine.runs
    assert given["argv"] == [
        *("python", "-m", "papermill", "--no-progress-bar", "--cwd", "/out"),
        *("/smoke/20-b.ipynb", "/out/20-b.ipynb"),
    ]
    assert (given["user"], given["network"], given["workdir"]) == ("1000", "none", "/out")
    assert (given["memory"], given["cpus"], given["timeout_s"]) == ("6g", 1.5, 77)
    assert given["tmpfs"]["/home/jovyan"] == "rw,exec,uid=1000,gid=1000,mode=0755"
    assert given["env"]["HELIOIMAGES_IMAGE"] == "helio"


def test_sources_are_mounted_read_only_and_the_scratch_folder_goes(root: Path):
    engine = FakeEngine()
    run(engine, root)
    mounts = {Path(run["argv"][-1]).stem: run["mounts"] for run in engine.runs}
    imports = root / "environments" / "helio-env" / "imports.toml"
    assert mounts["20-b"]["/smoke"] == (root / "smoke-notebooks" / "helio", "ro")
    assert mounts["20-b"]["/smoke-data/imports.toml"] == (imports, "ro")
    # A notebook of an ancestor reads its own environment's list, and base has none.
    assert mounts["10-y"].keys() == {"/smoke", "/out"}
    assert mounts["10-y"]["/smoke"] == (root / "smoke-notebooks" / "base", "ro")
    scratch = [folders["/out"] for folders in mounts.values()]
    assert [mode for _, mode in scratch] == ["rw"] * 4
    assert len({folder for folder, _ in scratch}) == 4
    assert not any(folder.exists() for folder, _ in scratch)


def test_parameters_go_to_papermill_and_network_on_request(root: Path):
    engine = FakeEngine()
    run(engine, root, only=("00-a",), parameters={"DAYS": "3", "NAME": "a b; $(id)"}, network=True)
    (given,) = engine.runs
    assert given["argv"][6:] == [
        *("-p", "DAYS", "3", "-p", "NAME", "a b; $(id)"),
        *("/smoke/00-a.ipynb", "/out/00-a.ipynb"),
    ]
    assert given["network"] == "bridge"


def test_nbval_runs_where_the_metadata_asks_for_it_only(root: Path):
    add(root, "helio/20-b", nbval=True)
    engine = FakeEngine()
    run(engine, root, parameters={"X": "1"})
    checked = {Path(run["argv"][-1]).stem: run["argv"] for run in engine.runs if "--nbval-lax" in run["argv"][2]}
    assert checked == {
        "20-b": [
            *("bash", "-c", '"$@" && exec python -m pytest -q -p no:cacheprovider --nbval-lax "$0"'),
            "/smoke/20-b.ipynb",
            *("python", "-m", "papermill", "--no-progress-bar", "--cwd", "/out", "-p", "X", "1"),
            *("/smoke/20-b.ipynb", "/out/20-b.ipynb"),
        ]
    }


def test_what_a_notebook_shows_is_kept(root: Path):
    png = b"\x89PNG not really"
    engine = FakeEngine(
        outputs={
            "20-b": [
                v4.new_output("display_data", data={NUMBERS: {"rows": 3}, "text/plain": "{}"}),
                v4.new_output("execute_result", data={NUMBERS: {"files": 2.5}}),
                v4.new_output(
                    "display_data",
                    data={"image/png": base64.b64encode(png).decode(), "text/plain": "<Figure size 1x1>"},
                ),
            ]
        }
    )
    result = only(engine, root)
    assert (result.status, result.summary, result.error) == ("passed", "", "")
    assert result.numbers == {"rows": 3, "files": 2.5}
    assert result.figures == (Figure(cell=1, png=png, alt="figure of 20-b"),)
    assert (result.seconds, result.cpu_seconds, result.peak_memory_bytes) == (1.235, 0.9, 3 << 20)
    assert result.notebook == "20-b.ipynb"


def test_a_failed_notebook_says_which_cell_and_why(root: Path):
    error = failing("ValueError", "no data for 2024", "\x1b[31mTraceback\x1b[0m", "ValueError: no data for 2024")
    engine = FakeEngine(ends={"20-b": ended(1, "papermill's own trace")}, outputs={"20-b": [error]})
    report = run(engine, root)
    assert [result.status for result in report.results] == ["passed", "passed", "passed", "failed"]
    assert not report.passed
    assert report.results[-1].summary == "ValueError: no data for 2024"
    assert report.results[-1].error == "cell 1\nTraceback\nValueError: no data for 2024"


def test_an_error_that_the_notebook_expects_is_no_failure(root: Path):
    result = only(FakeEngine(outputs={"20-b": [failing("KeyError", "'x'", "…")]}), root)
    assert (result.status, result.summary, result.error) == ("passed", "", "")


def test_a_failed_comparison_shows_the_log(root: Path):
    log = "\n".join(f"line {number}" for number in range(40)) + "\n1 failed, 2 passed in 3.21s\n"
    result = only(FakeEngine(ends={"20-b": ended(1, log)}), root)
    assert (result.status, result.summary) == ("failed", "1 failed, 2 passed in 3.21s")
    assert result.error.splitlines()[0] == "line 11"
    assert len(result.error.splitlines()) == 30


@pytest.mark.parametrize(
    ("end", "status", "summary"),
    [
        (ended(124, "Executing:  10%\n", timed_out=True), "timeout", "Executing:  10%"),
        (ended(137, "Killed\n", oom=True), "oom", "Killed"),
        # The kernel died of memory, and papermill told so with a code of its own.
        (ended(1, "DeadKernelError: Kernel died\n", oom=True), "oom", "DeadKernelError: Kernel died"),
        # Both: it was killed for its time.
        (ended(124, "", timed_out=True, oom=True), "timeout", "no output"),
        (ended(127, "\x1b[1mbash: python: not found\x1b[0m\n"), "failed", "bash: python: not found"),
    ],
)
def test_ends_without_an_executed_notebook(root: Path, end: RunResult, status: str, summary: str):
    result = only(FakeEngine(ends={"20-b": end}, outputs={"20-b": None}), root)
    assert (result.status, result.summary) == (status, summary)
    assert (result.numbers, result.figures) == ({}, ())


def test_the_scratch_folder_goes_when_the_engine_fails(root: Path):
    class Broken(FakeEngine):
        def run(self, image: str, argv: list[str], options: RunOptions) -> RunResult:
            super().run(image, argv, options)
            raise RuntimeError("the engine is gone")

    engine = Broken()
    with pytest.raises(RuntimeError, match="the engine is gone"):
        run(engine, root, only=("20-b",))
    assert not engine.runs[0]["mounts"]["/out"][0].exists()


def test_the_key_holds_everything_that_a_run_reads(root: Path, tmp_path: Path):
    """Only what a run reads makes it run again."""
    digest = "sha256:" + "0" * 64
    first = smoke.key(digest, LINEAGE, root)
    assert smoke.key(digest, LINEAGE, shutil.copytree(root, tmp_path / "elsewhere")) == first
    seen = {first, smoke.key("sha256:" + "1" * 64, LINEAGE, root)}
    assert len(seen) == 2
    books = root / "smoke-notebooks"
    changes = (
        (books / "helio" / "20-b.ipynb", "{}"),
        (books / "base" / "10-y.ipynb", "{}"),
        (books / "base" / "90-new.ipynb", "{}"),
        (books / "helio" / "made.py", "ONE = 2\n"),
        (books / "helio" / "known.toml", "expected = []\n"),
        (root / "environments" / "helio-env" / "imports.toml", 'sunpy = "sunpy.map"\n'),
    )
    for count, (path, text) in enumerate(changes, 3):
        path.write_text(text)
        seen.add(smoke.key(digest, LINEAGE, root))
        assert len(seen) == count, path
    (books / "sibling" / "00-other.ipynb").write_text("{}")
    (books / "helio" / "notes.md").write_text("words")
    (root / "environments" / "helio-env" / "packages.txt").write_text("sunpy 7\n")
    assert smoke.key(digest, LINEAGE, root) in seen
