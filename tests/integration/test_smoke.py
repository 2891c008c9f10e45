"""Smoke notebooks that must not pass, in the real base image: what went wrong is said, and the exit code is smoke's."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import engine_lists
import nbformat
import pytest
from nbformat import v4

from helioimages.smoke import run as smoke
from helioimages.spec.image import SmokeSpec

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]
ROOT = Path(__file__).parents[2]
HUNGRY = "block = bytearray(2 << 30)\nfor place in range(0, len(block), 4096):\n    block[place] = 1"


def add(checkout: Path, name: str, *sources: str, stored: str | None = None, kernel: str = "python3") -> None:
    """Write a notebook of base; ``stored`` is the output that nbval compares its last cell with."""
    book = v4.new_notebook(cells=[v4.new_markdown_cell(f"# {name}"), *map(v4.new_code_cell, sources)])
    if kernel:
        book.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": kernel}
    if stored is not None:
        book.metadata["helioimages"] = {"nbval": True}
        book.cells[-1].execution_count = 1
        book.cells[-1].outputs = [v4.new_output("stream", name="stdout", text=stored)]
    nbformat.write(book, checkout / "smoke-notebooks" / "base" / f"{name}.ipynb")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of what this checkout has of base, without its notebooks."""
    for name in ("images/base", "environments/base", "channel"):
        shutil.copytree(ROOT / name, tmp_path / "checkout" / name, symlinks=True)
    (tmp_path / "checkout" / "smoke-notebooks" / "base").mkdir(parents=True)
    return tmp_path / "checkout"


def test_how_notebooks_end(workspace, image, checkout, tmp_path):
    """Each end has its status, its summary and its place on the page, and one that fails stops no other."""
    compared = "# NBVAL_CHECK_OUTPUT\nprint(6 * 7)"
    add(checkout, "10-fails", "import os\nassert os.getuid() == 1000", "raise ValueError(f'no data for {2000 + 24}')")
    add(checkout, "20-stored", compared, stored="42\n")
    add(checkout, "30-tampered", compared, stored="41\n")
    add(checkout, "40-hungry", HUNGRY)
    add(checkout, "50-elsewhere", compared, stored="42\n", kernel="conda-env-sunpy-py")
    add(checkout, "60-nowhere", "1 + 1", kernel="")
    base = dataclasses.replace(workspace.checkout.images["base"], smoke=SmokeSpec(memory="1g", timeout=1200, cpus=2))
    out = tmp_path / "out"
    report = smoke.smoke(workspace.engine, image, (base,), checkout, out, smoke.Options(jobs=4))
    results = {result.name: result for result in report.results}
    assert not report.passed
    assert {name: result.status for name, result in results.items()} == {
        "base/10-fails": "failed",
        "base/20-stored": "passed",
        "base/30-tampered": "failed",
        "base/40-hungry": "oom",
        "base/50-elsewhere": "passed",
        "base/60-nowhere": "passed",
    }
    assert results["base/50-elsewhere"].note == "asks for the kernel `conda-env-sunpy-py`, ran with `python3`"
    assert results["base/60-nowhere"].note == "names no kernel, ran with `python3`"
    assert results["base/10-fails"].summary == "ValueError: no data for 2024"
    assert results["base/10-fails"].error.splitlines()[-1] == "ValueError: no data for 2024"
    assert "1 failed" in results["base/30-tampered"].summary
    assert "'41\\n' == '42\\n'" in results["base/30-tampered"].error
    page = (out / "report.html").read_text("utf-8")
    assert "3 of 6 notebooks passed" in page
    assert "ValueError: no data for 2024" in page
    assert [row["status"] for row in json.loads((out / "report.json").read_text())["notebooks"]] == [
        result.status for result in report.results
    ]


def test_one_that_does_not_end(workspace, image, checkout, tmp_path):
    """It is killed at its time, and its container is gone."""
    add(checkout, "10-endless", "import time\ntime.sleep(600)")
    base = dataclasses.replace(workspace.checkout.images["base"], smoke=SmokeSpec(timeout=4))
    (result,) = smoke.smoke(workspace.engine, image, (base,), checkout, tmp_path / "out").results
    assert result.status == "timeout"
    assert 4 <= result.seconds < 60
    left = engine_lists.containers(workspace.engine.client)
    sources = [mount["Source"] for container in left for mount in container.attrs["Mounts"] if mount["Type"] == "bind"]
    assert [path for path in sources if path.startswith(str(checkout))] == []


def test_the_verb_ends_with_8(workspace, image, checkout, tmp_path):
    """An error and a hint, no traceback; what passed and what did not is in the report."""
    add(checkout, "10-fails", "raise ValueError('no data')")
    add(checkout, "20-passes", "1 + 1")
    out = tmp_path / "out"
    argv = ["smoke", "base", "--root", str(checkout), "--output", str(out)]
    ended = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "buildimages.py"), *argv], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 8, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.endswith(
        "error: 1 of 2 notebooks failed in `base`\n"
        f"  in {image}\n"
        "  base/10-fails: failed ValueError: no data\n\n"
        f"hint: open {out / 'base' / 'report.html'}\n"
    )
    assert "Traceback" not in ended.stderr
    assert (out / "base" / "report.html").exists()
    document = json.loads((out / "base" / "report.json").read_text())
    assert [(row["name"], row["status"]) for row in document["notebooks"]] == [
        ("base/10-fails", "failed"),
        ("base/20-passes", "passed"),
    ]
