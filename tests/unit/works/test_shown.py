"""Two runs of a notebook: what is the same, what is not, and what is not compared."""

from __future__ import annotations

import json

import pytest
from nbformat import v4

from helioimages.smoke.books import NUMBERS
from helioimages.works import shown


def book(*outputs, source: str = "1", tags: tuple[str, ...] = ()):
    cell = v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})
    return v4.new_notebook(cells=[v4.new_markdown_cell("# A"), cell])


def printed(text: str, name: str = "stdout"):
    return v4.new_output("stream", name=name, text=text)


def given(**data):
    names = {"text": "text/plain", "png": "image/png", "html": "text/html", "numbers": NUMBERS}
    return v4.new_output("display_data", data={names[name]: value for name, value in data.items()})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([printed("a\n"), printed("b\n")], [printed("a\nb\n")]),
        ([printed("1\n")], [printed("1\n"), printed("a warning", "stderr")]),
        (
            [given(text="[<Line2D at 0x7f01>, <Line2D at 0x7f02>]")],
            [given(text="[<Line2D at 0xa1>, <Line2D at 0xa2>]")],
        ),
        ([given(text="a", html="<div id=1>")], [given(text="a", html="<div id=2>")]),
        ([given(png="iVBO\nRw0K")], [given(png="iVBORw0K")]),
        ([given(numbers={"a": 1, "b": 2.5})], [given(numbers={"b": 2.5, "a": 1})]),
    ],
)
def test_the_same(before, after):
    assert shown.compare("a", book(*before), book(*after)) == ()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            [printed("x 1.0\n")],
            [printed("x 1.0000000000000002\n")],
            "a cell 0: text `x 1.0` became `x 1.0000000000000002`",
        ),
        ([printed("x\ny\n")], [printed("x\n")], "a cell 0: text `y` became nothing"),
        ([], [given(text="7")], "a cell 0: text nothing became `7`"),
        ([given(numbers={"a": 1})], [given(numbers={"a": 2})], 'a cell 0: number `{"a":1}` became `{"a":2}`'),
    ],
)
def test_not_the_same(before, after, told):
    assert [str(difference) for difference in shown.compare("a", book(*before), book(*after))] == [told]


def test_a_figure_is_told_apart_from_numbers():
    (difference,) = shown.compare("a", book(given(png="iVBORw0K", text="<Figure>")), book(given(png="iVBORw0L")))
    assert difference.kind == shown.FIGURE


@pytest.mark.parametrize("how", [{"tags": ("nbval-ignore-output",)}, {"source": "x = 1\n  # NBVAL_IGNORE_OUTPUT"}])
def test_a_cell_that_says_so_is_not_compared(how):
    assert shown.compare("a", book(printed("1"), **how), book(printed("2"), **how)) == ()
    assert shown.outputs(book(printed("1"), **how)) == (None,)


def test_cells_that_are_gone_are_a_difference():
    less = v4.new_notebook(cells=[])
    assert [difference.cell for difference in shown.compare("a", book(printed("1")), less)] == [0]


def test_times_of_a_run_are_not_kept():
    node = book(printed("1"))
    node.metadata["papermill"] = {"start_time": "2026"}
    node.cells[1].metadata |= {"papermill": {"duration": 1.5}, "execution": {"iopub.status.busy": "2026"}}
    node.cells.insert(1, v4.new_code_cell("a = 1", metadata={"tags": ["injected-parameters"]}))
    cleaned = shown.clean(node)
    assert b"2026" not in cleaned and b"duration" not in cleaned
    assert json.loads(cleaned)["cells"][1]["id"] == "injected-1"


def test_pictures_and_numbers():
    node = book(given(png="iVBORw0K"), given(png="not base64!"), given(numbers={"a": 1}))
    assert list(shown.figures(node)) == [(1, b"\x89PNG\r\n")]
    assert shown.numbers(node) == {"a": 1}
