"""A notebook's page shows what the notebook shows, and nothing of it can run or reach anybody."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from catalogue_support import PNG
from hypothesis import given
from hypothesis import strategies as st

from helioimages.smoke import books, rendered

EVIL = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
#: What a page may have; attributes that can run or reach something are looked for one by one.
TAGS = frozenset(
    (
        *("html", "head", "meta", "title", "style", "body", "main", "p", "a", "div", "span", "pre", "code", "h1", "h2"),
        *("em", "strong", "ul", "ol", "li", "blockquote", "hr", "br", "figure", "img", "table", "caption", "thead"),
        *("tbody", "tfoot", "tr", "th", "td", "b", "i", "sub", "sup"),
    )
)


class Page(HTMLParser):
    """The tags, the attributes and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data


def code(*outputs, source="1 + 1", number=3):
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {},
        "execution_count": number,
        "outputs": list(outputs),
    }


def shows(**data):
    named = {key.replace("__", "+").replace("_", "/", 1): value for key, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": named}


def page_of(*cells, title="T") -> str:
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}
    return rendered.page(json.dumps(document).encode(), title, "10-x.ipynb")


def harmless(text: str) -> Page:
    page = Page(text)
    assert set(page.tags) <= TAGS
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name, value)
        if name == "src":
            assert re.fullmatch(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=]*", value), value
        if name == "href":
            assert not re.match(r"\s*(javascript|vbscript|data|file):", value, re.IGNORECASE), value
        assert name not in ("srcdoc", "action", "formaction", "background", "poster", "ping")
    assert text.count("<style>") == 2
    return page


def test_what_a_notebook_shows():
    text = page_of(
        {"cell_type": "markdown", "metadata": {}, "source": ["# Irradiance\n", "of *AIA*"]},
        code(
            {"output_type": "stream", "name": "stdout", "text": ["one\n"]},
            {"output_type": "stream", "name": "stdout", "text": "\x1b[31mtwo\x1b[0m\n 10%\r100%"},
            shows(text_plain="<Figure size 640x480>", image_png=base64.b64encode(PNG).decode()),
            shows(text_html="<table><tr><th>a</th></tr></table>", text_plain="a"),
            source="x = 1",
        ),
        code({"output_type": "error", "ename": "E", "evalue": "odd", "traceback": ["\x1b[1mline\x1b[0m", "E: odd"]}),
    )
    page = harmless(text)
    assert "<h1>Irradiance</h1>" in text and "<em>AIA</em>" in text
    assert '<pre class="text" tabindex="0">one\ntwo\n100%</pre>' in text
    assert ("img", "src", f"data:image/png;base64,{base64.b64encode(PNG).decode()}") in page.attributes
    assert ("img", "alt", "Figure of cell 2") in page.attributes
    assert "<table><tr><th>a</th></tr></table>" in text
    assert '<pre class="error" tabindex="0">line\nE: odd</pre>' in text
    assert "[3]" in page.text and re.search(r'<span class="n">x</span>', text)
    assert ("a", "href", "10-x.ipynb") in page.attributes


@pytest.mark.parametrize(
    "cell",
    [
        {"cell_type": "markdown", "metadata": {}, "source": EVIL},
        {"cell_type": "markdown", "metadata": {}, "source": "[a](javascript:alert(1)) ![b](https://spy.example/a.png)"},
        {"cell_type": "markdown", "metadata": {}, "source": f"![{EVIL}](data:text/html;base64,PHNjcmlwdD4=)"},
        {"cell_type": "markdown", "metadata": {}, "source": '![b](data:image/svg+xml;base64,PHN2Zy8+" onload="x())'},
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": "![b](attachment:a)",
            "attachments": {"a": {"image/png": 'x" onerror="alert(1)'}},
        },
        {"cell_type": "raw", "metadata": {}, "source": EVIL},
        code(source=EVIL),
        code({"output_type": "stream", "name": "stdout", "text": EVIL}),
        code({"output_type": "error", "ename": EVIL, "evalue": EVIL, "traceback": []}),
        code(shows(text_html=f"<table onclick='x()'><tr style='a'><td onmouseover=x>{EVIL}<b>1</b></td></tr></table>")),
        code(shows(text_html=f"<table><tr><td><scr<script>ipt>alert(1)</script>{'</table>' * 3}<iframe src=//x>")),
        code(shows(image_png="bm90IGEgcGljdHVyZQ==", text_plain=EVIL)),
        code(shows(image_svg__xml='<svg onload="alert(1)"/>')),
        code(shows(text_markdown=EVIL)),
        code(shows(application_javascript="alert(1)", text_plain="x")),
        code(source="x", number=EVIL),
    ],
)
def test_nothing_of_a_notebook_runs_or_fetches(cell):
    text = page_of(cell, title=EVIL)
    harmless(text)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert "spy.example" not in text


@given(
    st.lists(
        st.sampled_from(
            [
                "<table>",
                "</table>",
                "<tr>",
                "<td colspan=2>",
                "</td>",
                "<b>",
                "x<",
                "&lt;",
                "<script>",
                "</script>",
                "<style>",
                "<div onclick=x>",
                "<td rowspan='1\" onclick=\"x'>",
                "<br>",
                "-->",
            ]
        )
    )
)
def test_tables_are_well_formed_whatever_they_are_made_of(pieces):
    made = rendered.tables("".join(pieces))
    stack = []
    for end, tag, rest in re.findall(r"<(/?)([a-z]+)([^>]*)>", made):
        assert tag in (*rendered._Tables.KEPT, "br") and re.fullmatch(r'( (col|row)span="[1-9]\d*")*', rest)
        if tag == "br":
            continue
        if not end:
            stack.append(tag)
        else:
            assert stack.pop() == tag
    assert stack == []


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        # What is drawn, or styled by a script, is told by its text.
        ({"text_html": "<table><tr><td><svg/></td></tr></table>", "text_plain": "an array"}, "an array"),
        ({"text_html": "<p>para</p>", "text_plain": "plain"}, "plain"),
        ({"text_latex": "$x^2$"}, "$x^2$"),
    ],
)
def test_what_is_no_table_is_text(data, shown):
    text = page_of(code(shows(**data)))
    assert f'<pre class="text" tabindex="0">{shown}</pre>' in text


def test_a_long_output_is_cut_and_said_so():
    text = page_of(code({"output_type": "stream", "name": "stdout", "text": "x" * 20_005}))
    assert "… 5 more characters are in the notebook" in text


def test_a_page_lies_beside_its_notebook(tmp_path: Path):
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [code()]}
    (tmp_path / "10-x.ipynb").write_text(json.dumps(document))
    assert rendered.write(tmp_path, "10-x.ipynb", "T") == "10-x.ipynb.html"
    assert "<title>T</title>" in (tmp_path / "10-x.ipynb.html").read_text()
    # What the run before left is not this run's.
    (tmp_path / "10-x.ipynb").write_text("{")
    assert rendered.write(tmp_path, "10-x.ipynb", "T") == ""
    assert not (tmp_path / "10-x.ipynb.html").exists()
    (tmp_path / "10-x.ipynb").unlink()
    assert rendered.write(tmp_path, "10-x.ipynb", "T") == ""


@pytest.mark.parametrize("cell", [code({"output_type": "stream", "text": 5}), code({"text": "x"}), code(5)])
def test_a_malformed_output_is_no_page(cell):
    with pytest.raises(books.Malformed, match=r"is malformed at cells\[0\]"):
        page_of(cell)


def test_threads_may_make_the_first_pages():
    """Pygments replaces its own modules while they load: a name that one thread imports was not there for another."""
    program = (
        "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "import json, sys, threading\n"
        "from helioimages.smoke import rendered\n"
        "sys.setswitchinterval(1e-6)\n"
        "cell = {'cell_type': 'code', 'source': 'x', 'metadata': {}, 'outputs': [], 'execution_count': 1}\n"
        "data = json.dumps({'nbformat': 4, 'nbformat_minor': 5, 'metadata': {}, 'cells': [cell]}).encode()\n"
        "gate = threading.Barrier(8)\n"
        "def made(_):\n"
        "    gate.wait()\n"
        "    return rendered.page(data, 'T', 'x.ipynb')\n"
        "with Pool(8) as pool:\n"
        "    print(len(set(pool.map(made, range(8)))))\n"
    )
    tools = str(Path(rendered.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": tools},
        check=False,
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
