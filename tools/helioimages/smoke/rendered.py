"""Executed notebooks as pages to read in a browser: each one file that fetches nothing and runs nothing.

A report may be anybody's, so nothing of a notebook reaches the page as it is: Markdown is parsed with HTML switched
off, pictures are decoded and written anew, and of HTML outputs only tables stay, made again of what their cells say. A
policy in the page forbids scripts and addresses all the same. Why not nbconvert: docs/architecture.md, "Libraries".

Spec: nbformat 4.5, "The Notebook file format"; CommonMark 0.31 with tables.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ..core.templates import pages
from . import books
from .books import joined

if TYPE_CHECKING:
    from jinja2 import Template
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import OptionsDict

#: Characters of one output that are shown; a log of a day is in the notebook.
_MOST_TEXT = 20_000
#: Pictures by what they are called in a notebook; SVG, too, runs nothing where it is a picture.
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
_BYTES = {"image/png": b"\x89PNG\r\n", "image/jpeg": b"\xff\xd8", "image/gif": b"GIF8", "image/webp": b"RIFF"}
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of the page.

    Attributes:
        kind: ``markdown``, ``code``, ``text``, ``error``, ``picture`` or ``table``.
        body: HTML; of a picture, its address.
        number: of a code cell that ran, as the notebook has it.
        alt: of a picture.
    """

    kind: str
    body: str
    number: int | None = None
    alt: str = ""


def name_of(notebook: str) -> str:
    """Return how a notebook's page is called: as no other file of a report is.

    >>> name_of("10-irradiance.ipynb")
    '10-irradiance.ipynb.html'
    """
    return f"{notebook}.html"


def write(folder: Path, notebook: str, title: str) -> str:
    """Write the page of an executed notebook beside it, and return its name; empty where there is no such notebook.

    Args:
        notebook: its file name in the folder.
    """
    # A report of elsewhere may name any file.
    if Path(notebook).name != notebook:
        return ""
    target = folder / name_of(notebook)
    target.unlink(missing_ok=True)
    try:
        target.write_text(page((folder / notebook).read_bytes(), title, notebook), "utf-8")
    except (OSError, books.Malformed):
        target.unlink(missing_ok=True)
        return ""
    return target.name


def write_all(report: Path) -> None:
    """Write the pages that a report names, whose notebooks came from elsewhere."""
    rows = json.loads((report / "report.json").read_bytes()).get("notebooks")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("page"):
            write(report, str(row.get("notebook")), str(row.get("title")))


def page(data: bytes, title: str, notebook: str) -> str:
    """Return a notebook's page.

    Args:
        title: of the notebook, for people.
        notebook: its file name beside the page.

    Raises:
        books.Malformed: the bytes are no notebook.
    """
    node = books.parse(data)
    language = str(_table(_table(node.get("metadata")).get("language_info")).get("name") or "python")
    pieces: list[Piece] = []
    for index, cell in enumerate(node.cells):
        try:
            pieces += _pieces(cell, language, index)
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            raise books.Malformed(f"is malformed at cells[{index}]: {fault!r}") from fault
    return _template().render(title=title, notebook=notebook, pieces=pieces, colours=Markup(_colours()))


@cache
def _template() -> Template:
    environment = pages(Path(__file__).parent)
    environment.filters["made"] = Markup
    return environment.get_template("notebook.html.j2")


def _pieces(cell: Mapping[str, Any], language: str, index: int) -> list[Piece]:
    if cell["cell_type"] == "markdown":
        return [Piece(kind="markdown", body=_markdown(cell["source"], cell.get("attachments") or {}))]
    if cell["cell_type"] != "code":
        return [Piece(kind="text", body=html.escape(_cut(cell["source"])))]
    number = cell.get("execution_count")
    pieces = []
    if cell["source"].strip():
        number = number if isinstance(number, int) else None
        pieces.append(Piece(kind="code", body=_code(cell["source"], language), number=number))
    streamed = ""
    for output in cell.get("outputs") or ():
        if output["output_type"] == "stream":
            # A kernel sends one text in many pieces.
            streamed += joined(output.get("text"))
            continue
        if streamed:
            pieces.append(_text(streamed))
            streamed = ""
        pieces += _output(output, index)
    return [*pieces, _text(streamed)] if streamed else pieces


def _output(output: Mapping[str, Any], index: int) -> list[Piece]:
    if output["output_type"] == "error":
        lines = output.get("traceback") or [f"{output.get('ename')}: {output.get('evalue')}"]
        return [Piece(kind="error", body=html.escape(_cut("\n".join(lines))))]
    data = _table(output.get("data"))
    text = joined(data.get("text/plain"))
    for kind in _PICTURES:
        if (encoded := joined(data.get(kind))) and (address := _picture(kind, encoded)):
            alt = text if text and not text.startswith("<") else f"Figure of cell {index + 1}"
            return [Piece(kind="picture", body=address, alt=alt[:120])]
    if (page := joined(data.get("text/html"))) and (table := tables(page)):
        return [Piece(kind="table", body=table)]
    if written := joined(data.get("text/markdown")):
        return [Piece(kind="markdown", body=_markdown(written, {}))]
    text = text or joined(data.get("text/latex"))
    return [_text(text)] if text else []


def _text(text: str) -> Piece:
    return Piece(kind="text", body=html.escape(_cut(text)))


def _cut(text: str) -> str:
    # A bar of progress writes its line again and again: the last is what a terminal shows.
    plain = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in _CONTROL.sub("", text).split("\n"))
    rest = len(plain) - _MOST_TEXT
    return plain if rest <= 0 else f"{plain[:_MOST_TEXT]}\n… {rest:,} more characters are in the notebook"


def _picture(kind: str, text: str) -> str:
    """Return a picture as an address that holds it; empty for what is none of its kind."""
    try:
        data = text.encode() if kind == "image/svg+xml" else base64.b64decode(text)
    except (ValueError, binascii.Error):
        return ""
    if not data.startswith(_BYTES.get(kind, b"")):
        return ""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@cache
def _colours() -> str:
    """Return the style of code, by day and by night."""
    from pygments.formatters.html import HtmlFormatter

    day, night = (HtmlFormatter(style=style).get_style_defs(".code") for style in ("xcode", "github-dark"))
    return f"{day}\n@media (prefers-color-scheme: dark) {{\n{night}\n}}"


def _code(source: str, language: str) -> str:
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    return str(highlight(source, lexer, HtmlFormatter(nowrap=True))).rstrip("\n")


def markdown(text: str) -> Markup:
    r"""Return Markdown as HTML in which nothing runs or fetches: HTML in it is text, pictures are what they show.

    >>> markdown("Of `sunpy`,\n<b>new</b>")
    Markup('<p>Of <code>sunpy</code>,\n&lt;b&gt;new&lt;/b&gt;</p>\n')
    """
    return Markup(_markdown(text, {}))


def _markdown(text: str, attachments: Mapping[str, Any]) -> str:
    return str(_parser().render(text, {"attachments": attachments}))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("image", _image)
    return parser


def _image(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, env: Mapping[str, Any]
) -> str:
    """Return a picture that the notebook brings; of one from elsewhere, what it shows."""
    source, alt = str(tokens[at].attrs.get("src") or ""), html.escape(tokens[at].content)
    address = ""
    if source.startswith("attachment:"):
        held = _table(_table(env.get("attachments")).get(source.removeprefix("attachment:")))
        address = next((_picture(kind, joined(held[kind])) for kind in _PICTURES if kind in held), "")
    elif match := re.fullmatch(r"data:(image/[a-z+]+);base64,(.+)", source):
        address = _picture(match[1], match[2]) if match[1] in _BYTES else ""
    return f'<img alt="{alt}" src="{address}">' if address else f"<em>{alt or 'a picture from elsewhere'}</em>"


def tables(text: str) -> str:
    """Return an HTML output that is made of tables as nothing but tables; empty if it shows more, or none.

    >>> tables('<p><script>x()</script><table onclick="x()"><tr><td colspan="2"><b>1</b> &lt;</td></tr></table>')
    '<table><tr><td colspan="2"><b>1</b> &lt;</td></tr></table>'
    >>> tables("<table><tr><td><svg></svg></td></tr></table>")
    ''
    """
    parser = _Tables()
    parser.feed(text)
    parser.close()
    return parser.result()


class _Tables(HTMLParser):
    """Makes the tables of a text again: known tags, no attribute but a cell's span, and text."""

    KEPT = frozenset(
        (
            "table",
            "caption",
            "thead",
            "tbody",
            "tfoot",
            "tr",
            "th",
            "td",
            "b",
            "i",
            "em",
            "strong",
            "sub",
            "sup",
            "code",
        )
    )
    #: What text can't stand for.
    SHOWN = frozenset(("svg", "img", "canvas", "iframe", "video", "audio", "object", "embed", "math"))
    SILENT = frozenset(("script", "style", "template", "title", "noscript", "select", "textarea"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.made: list[str] = []
        self.open: list[str] = []
        self.silent = 0
        self.more = False

    def result(self) -> str:
        """Return what was made, with every tag closed."""
        ends = [f"</{tag}>" for tag in reversed(self.open)]
        return "" if self.more or not self.made else "".join((*self.made, *ends))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag of a table."""
        self.more |= tag in self.SHOWN
        self.silent += tag in self.SILENT
        if tag == "br" and self.open and not self.silent:
            self.made.append("<br>")
        if self.silent or tag not in self.KEPT or not (self.open or tag == "table"):
            return
        spans = [
            f' {key}="{value}"'
            for key, value in attrs
            if key in ("colspan", "rowspan") and re.fullmatch(r"[1-9]\d{0,3}", value or "")
        ]
        self.made.append(f"<{tag}{''.join(spans)}>")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close a tag that is open, and what is open within."""
        if tag in self.SILENT:
            self.silent = max(0, self.silent - 1)
        elif not self.silent and tag in self.open:
            last = ""
            while last != tag:
                last = self.open.pop()
                self.made.append(f"</{last}>")

    def handle_data(self, data: str) -> None:
        """Keep text within a table."""
        if self.open and not self.silent:
            self.made.append(html.escape(data, quote=False))


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
