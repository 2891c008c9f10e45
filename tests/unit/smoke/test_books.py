"""Bad notebooks: of the checkout an error that names the file, of papermill a status; and their kernels."""

from __future__ import annotations

import base64
import codecs
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from nbformat import v3, v4
from smoke_support import REFERENCE, FakeEngine, add, ended, only, run

from helioimages.core.errors import HelioError, Stage
from helioimages.smoke import books
from helioimages.smoke.books import NUMBERS, Book, choose, kernels_of

GOOD = json.dumps(v4.new_notebook(cells=[v4.new_code_cell("1", id="one")], metadata={}))
CONFLICT = GOOD.replace("{", '{\n<<<<<<< HEAD\n"a": 1,\n=======\n"a": 2,\n>>>>>>> theirs\n', 1)
MERGED = json.dumps(
    v4.new_notebook(cells=[v4.new_code_cell("1"), v4.new_code_cell("<<<<<<< local\na\n=======\nb\n>>>>>>> remote")])
)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"


def with_format(version: Any) -> str:
    return json.dumps(json.loads(GOOD) | {"nbformat": version})


def with_cells(cells: Any) -> str:
    return json.dumps(json.loads(GOOD) | {"cells": cells})


BAD = [
    ("empty", b"", "is empty"),
    ("blank", b" \n\n", "is empty"),
    ("lfs", LFS.encode(), "is a pointer of git-lfs, and its content is not here"),
    ("conflict", CONFLICT.encode(), "has conflict marks of a merge at line 2"),
    ("conflict-crlf", CONFLICT.replace("\n", "\r\n").encode(), "has conflict marks of a merge at line 2"),
    ("merged", MERGED.encode(), "has conflict marks of a merge in cell 1"),
    ("bom", codecs.BOM_UTF8 + GOOD.encode(), "begins with a byte order mark, which no reader of notebooks takes"),
    ("utf-16", GOOD.encode("utf-16"), "is UTF-16: expected UTF-8"),
    ("utf-16-be", codecs.BOM_UTF16_BE + GOOD.encode("utf-16-be"), "is UTF-16: expected UTF-8"),
    ("utf-32", GOOD.encode("utf-32"), "is UTF-32: expected UTF-8"),
    ("no-mark", GOOD.encode("utf-16-le"), "is not text: expected UTF-8"),
    ("latin-1", GOOD.replace('"1"', '"\xe9"').encode("latin-1"), "is not UTF-8 at line 1: byte 0xe9"),
    ("cut", GOOD[:40].encode(), "is not JSON at line 1, column"),
    ("text", b"print(1)\n", "is not JSON at line 1, column 1: Expecting value"),
    ("text-before", b"Warning: old\n" + GOOD.encode(), "is not JSON at line 1, column 1: Expecting value"),
    ("text-after", GOOD.encode() + b"\n}", "is not JSON at line 2, column 1: Extra data"),
    ("deep", b"[" * 100_000, "is not JSON: "),
    ("digits", b'{"nbformat": ' + b"9" * 5000 + b"}", "is not JSON: "),
    ("list", b"[]", "is JSON but no notebook: expected an object"),
    ("other", b"{}", "is JSON but no notebook: it has no `nbformat`"),
    ("five", with_format(5).encode(), "has the format 5: papermill reads nbformat 1 to 4"),
    ("zero", with_format(0).encode(), "has the format 0: papermill reads nbformat 1 to 4"),
    ("words", with_format("4").encode(), "has the format '4': papermill reads nbformat 1 to 4"),
    ("true", with_format(True).encode(), "has the format True: papermill reads nbformat 1 to 4"),
    ("half", with_format(4.5).encode(), "has the format 4.5: papermill reads nbformat 1 to 4"),
    ("no-cells", b'{"nbformat": 4}', "is JSON but no notebook: expected `cells` to be a list"),
    ("cells", with_cells({}).encode(), "is JSON but no notebook: expected `cells` to be a list"),
    ("cell", with_cells(["x"]).encode(), "is malformed at cells[0]: expected an object with a `cell_type`"),
    ("source", with_cells([{"cell_type": "code", "source": 1}]).encode(), "is malformed at cells[0].source: expected"),
    (
        "old",
        b'{"nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": [1]}]}',
        "cannot be converted from nbformat",
    ),
]


@pytest.mark.parametrize(("data", "told"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_notebook_of_the_checkout_is_named_before_anything_runs(root: Path, data: bytes, told: str):
    (root / "smoke-notebooks" / "helio" / "20-b.ipynb").write_bytes(data)
    engine = FakeEngine()
    with pytest.raises(HelioError) as caught:
        run(engine, root)
    error = caught.value
    assert (error.stage, error.where) == (Stage.SMOKE, "smoke-notebooks/helio/20-b.ipynb")
    assert error.message.startswith(f"`smoke-notebooks/helio/20-b.ipynb` {told}")
    assert (engine.pulled, engine.runs) == ([], [])
    assert not (root.parent / "out").exists()
    # Another notebook runs all the same.
    assert run(engine, root, only=("00-a",)).passed


def test_every_bad_notebook_is_named(root: Path):
    for name in ("base/10-y", "helio/20-b"):
        (root / "smoke-notebooks" / f"{name}.ipynb").write_text("")
    with pytest.raises(HelioError) as caught:
        run(FakeEngine(), root)
    assert caught.value.message == "`smoke-notebooks/base/10-y.ipynb` is empty"
    assert caught.value.detail == "`smoke-notebooks/helio/20-b.ipynb` is empty"


@pytest.mark.parametrize("kind", ["folder", "dangling", "fifo"])
def test_what_is_no_file(root: Path, kind: str):
    path = root / "smoke-notebooks" / "helio" / "20-b.ipynb"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("gone.ipynb")
    else:
        os.mkfifo(path)
    with pytest.raises(HelioError) as caught:
        run(FakeEngine(), root)
    assert caught.value.message == "`smoke-notebooks/helio/20-b.ipynb` is not a file"


def test_older_formats_and_lists_of_lines_are_read(root: Path):
    path = root / "smoke-notebooks" / "helio" / "20-b.ipynb"
    sheet = v3.new_worksheet(cells=[v3.new_heading_cell("From long ago"), v3.new_code_cell("1")])
    path.write_text(json.dumps(v3.new_notebook(worksheets=[sheet])))
    assert only(FakeEngine(), root).title == "From long ago"
    lines = [{"cell_type": "markdown", "source": ["# In\n", "lines"], "metadata": {}}]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": lines}))
    assert only(FakeEngine(), root).title == "In"
    path.write_text(json.dumps({"nbformat": 4, "metadata": [], "cells": lines}))
    assert only(FakeEngine(), root).status == "passed"


def test_a_row_of_equals_signs_is_no_conflict(root: Path):
    cells = [v4.new_markdown_cell("Title\n=======\n"), v4.new_code_cell("a = '''\n<<<<<<< one mark alone\n'''")]
    path = root / "smoke-notebooks" / "helio" / "20-b.ipynb"
    path.write_text(json.dumps(v4.new_notebook(cells=cells)))
    assert only(FakeEngine(), root).status == "passed"


@pytest.mark.parametrize(("data", "told"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
@pytest.mark.parametrize("end", [ended(), ended(1, "trace\nPapermillExecutionError: x\n"), ended(137, oom=True)])
def test_a_bad_executed_notebook_is_a_status(root: Path, data: bytes, told: str, end):
    engine = FakeEngine(ends={"20-b": end}, left={"20-b": data})
    report = run(engine, root)
    result = report.results[-1]
    assert result.status == ("oom" if end.oom_killed else "failed")
    assert result.error.startswith(f"the notebook that papermill left {told}")
    assert result.summary.startswith(
        "PapermillExecutionError: x" if end.log else "no output" if end.exit_code else "the notebook that papermill"
    )
    assert [other.status for other in report.results[:-1]] == ["passed"] * 3
    assert (root.parent / "out" / "20-b.ipynb").read_bytes() == data
    assert json.loads((root.parent / "out" / "report.json").read_text())["passed"] is False
    assert told[:10] in (root.parent / "out" / "report.html").read_text()


def test_papermill_ended_well_and_left_nothing(root: Path):
    result = only(FakeEngine(outputs={"20-b": None}), root)
    assert (result.status, result.summary, result.error) == ("failed", "papermill left no notebook", result.summary)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ({"data": {"image/png": "A"}}, ".data.image/png: expected base64 not another text"),
        ({"data": {"image/png": 1}}, ".data.image/png: expected a string or an array of strings not a whole number"),
        ({"data": {NUMBERS: [1]}}, f".data.{NUMBERS}: expected an object not an array"),
        ({"data": []}, ".data: expected an object not an array"),
        ({"output_type": "error"}, ".traceback: expected an array, found nothing"),
        ({"output_type": "error", "ename": 3, "traceback": []}, ".ename: expected a string not a whole number"),
        ({"output_type": "error", "traceback": None}, ".traceback: expected an array, found nothing"),
        ({"output_type": "error", "traceback": [3]}, ".traceback[0]: expected a string not a whole number"),
        ("text", ": expected an object not a string"),
    ],
)
def test_outputs_that_are_none(root: Path, output: Any, told: str):
    data = with_cells([{"cell_type": "code", "source": "", "outputs": [output]}]).encode()
    result = only(FakeEngine(left={"20-b": data}), root)
    assert result.status == "failed"
    assert result.summary == f"the notebook that papermill left is malformed at cells[0].outputs[0]{told}"


def test_pictures_may_be_lists_of_lines(root: Path):
    text = base64.b64encode(b"\x89PNG not really").decode()
    output = {"output_type": "display_data", "data": {"image/png": [text[:4], text[4:]], "text/plain": ["a ", "map"]}}
    data = with_cells([{"cell_type": "code", "source": "", "outputs": [output]}]).encode()
    (figure,) = only(FakeEngine(left={"20-b": data}), root).figures
    assert (figure.png, figure.alt) == (b"\x89PNG not really", "a map")


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_a_container_reaches_no_file_of_this_machine(root: Path, tmp_path: Path, kind: str):
    """What it leaves under the notebook's name may be a link: its target must not get into a published report."""
    secret = tmp_path / "secret"
    secret.write_text(GOOD)

    class Evil(FakeEngine):
        def run(self, image, argv, options):
            ran = super().run(image, argv, options)
            path = options.mounts["/out"][0] / Path(argv[-1]).name
            path.unlink()
            {"link": lambda: path.symlink_to(secret), "folder": path.mkdir, "fifo": lambda: os.mkfifo(path)}[kind]()
            return ran

    result = only(Evil(), root)
    assert (result.status, result.summary) == ("failed", "the notebook that papermill left is not a file")
    assert not (root.parent / "out" / "20-b.ipynb").exists()


KERNELS = {"python3": "python", "gdl": "idl", "idl": "idl", "octave": "octave"}


def book(kernel: str, language: str = "") -> Book:
    return Book(path=Path("helio/a.ipynb"), title="", kernel=kernel, language=language, checked=False)


@pytest.mark.parametrize(
    ("kernel", "language", "gets"),
    [
        ("python3", "python", ""),
        ("Python3", "", ""),
        ("gdl", "idl", ""),
        ("conda-env-sunpy-py", "", "python3"),
        ("conda-env-my-r-things-py", "python", "python3"),
        ("conda-root-py", "", "python3"),
        ("python3.11", "python", "python3"),
        ("python2", "", "python3"),
        ("venv", "", "python3"),
        ("heliocloud", "ipython", "python3"),
        ("", "", "python3"),
        ("", "idl", "gdl"),
        ("idl8", "", "gdl"),
        ("gnu-octave", "octave", "octave"),
    ],
)
def test_a_notebook_gets_the_images_kernel_of_its_language(kernel: str, language: str, gets: str):
    chosen = choose(book(kernel, language), KERNELS)
    asked = f"asks for the kernel `{kernel}`" if kernel else "names no kernel"
    assert (chosen.kernel, chosen.missing) == (gets, False)
    assert chosen.note == (f"{asked}, ran with `{gets}`" if gets else "")


@pytest.mark.parametrize(("kernel", "language"), [("ir", ""), ("ir", "R"), ("conda-env-x-r", ""), ("julia-1.10", "")])
def test_a_language_that_the_image_has_not(root: Path, kernel: str, language: str):
    chosen = choose(book(kernel, language), KERNELS)
    spoken = "julia" if kernel.startswith("julia") else "r"
    assert chosen.missing
    assert chosen.note == (f"asks for the kernel `{kernel}` ({spoken}), and the image has gdl, idl, octave, python3")
    add(root, "helio/20-b", kernel=kernel, language=language)
    engine = FakeEngine(kernels=KERNELS)
    result = only(engine, root)
    assert (result.status, result.summary) == ("failed", chosen.note)
    assert [run["argv"][0] for run in engine.runs] == ["jupyter"]


@pytest.mark.parametrize(
    ("log", "kernels"),
    [
        ("", {"python3": "python"}),
        ("bash: jupyter: not found\n", {"python3": "python"}),
        ('{"kernelspecs": []}', {"python3": "python"}),
        ('{"kernelspecs": {}}', {"python3": "python"}),
        (
            '[Warning] a\n{"kernelspecs": {"gdl": {"spec": {"language": "idl"}}, "x": {}}}\n[Warning] b',
            {"gdl": "idl", "x": "python"},
        ),
    ],
)
def test_what_an_image_says_of_its_kernels(log: str, kernels: dict[str, str]):
    assert kernels_of(log) == kernels


def test_papermill_and_nbval_are_told_the_kernel_and_the_report_says_it(root: Path):
    add(root, "helio/20-b", kernel="conda-env-x-py", nbval=True)
    add(root, "base/10-y", kernel="gdl", language="idl")
    engine = FakeEngine(kernels=KERNELS)
    report = run(engine, root, parameters={"X": "1"})
    assert [result.note for result in report.results] == [
        "",
        "",
        "",
        "asks for the kernel `conda-env-x-py`, ran with `python3`",
    ]
    listing, *runs = engine.runs
    assert (listing["image"], listing["argv"]) == (REFERENCE, ["jupyter", "kernelspec", "list", "--json"])
    assert (listing["user"], listing["mounts"]) == ("1000", {})
    told = {Path(run["argv"][-1]).stem: run["argv"] for run in runs}
    assert told["20-b"] == [
        *("bash", "-c"),
        '"$@" && exec python -m pytest -q -p no:cacheprovider --nbval-lax --nbval-kernel-name python3 "$0"',
        "/smoke/20-b.ipynb",
        *("python", "-m", "papermill", "--no-progress-bar", "--cwd", "/out", "-k", "python3", "-l", "python"),
        *("-p", "X", "1", "/smoke/20-b.ipynb", "/out/20-b.ipynb"),
    ]
    assert "-k" not in told["10-y"]
    row = json.loads((root.parent / "out" / "report.json").read_text())["notebooks"][-1]
    assert row["note"] == report.results[-1].note
    assert "conda-env-x-py" in (root.parent / "out" / "report.html").read_text()


def test_no_image_is_asked_for_its_kernels_where_all_want_the_usual_one(root: Path):
    engine = FakeEngine()
    assert run(engine, root).passed
    assert len(engine.runs) == 4


def test_the_hints_work(tmp_path: Path):
    """What the hint of an empty notebook says brings it back."""
    path = tmp_path / "a.ipynb"
    path.write_text(GOOD)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *words], check=True)
    path.write_text("")
    with pytest.raises(HelioError, match="git checkout"):
        books.read_all([path], tmp_path)
    subprocess.run([*git, "checkout", "a.ipynb"], check=True, capture_output=True)
    assert books.read_all([path], tmp_path)[0].title == "a"
