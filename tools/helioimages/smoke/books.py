"""Notebooks as files that may be bad: those of the checkout, which people and git wrote, and those that papermill left.

A bad one of the checkout is an error that names it, before anything runs. A bad one that papermill left is what the run
gave: a status of the report, never an error of ours, for the container may leave anything.

Spec: nbformat 4.5, "The Notebook file format".
"""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import HelioError, Stage
from ..core.reading import Form, Table
from .report import Figure

if TYPE_CHECKING:
    from nbformat import NotebookNode

NUMBERS = "application/vnd.helioimages.numbers+json"
#: The kernel of every image, of its own Python.
OURS = "python3"
_NEWEST = 4
_FORM = Form(stage=Stage.SMOKE, comma=False, null_is_absent=True, json=True)
_LFS = b"version https://git-lfs.github.com/spec/"
_CONFLICT = re.compile(r"^(?:<{7}|>{7})(?: |$)", re.MULTILINE)
#: The longer marks come first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
#: nb_conda_kernels' names of kernels: ``conda-env-<environment>-py``, ``conda-root-r``.
_CONDA = re.compile(r"conda-.*-(py|r|jl)")
#: What kernels' own names say of their language; every other name is one that somebody gave to a Python.
_LANGUAGES = {"ir": "r", "r": "r", "jl": "julia", "py": "python"}
_LANGUAGES |= {name: name for name in ("bash", "gdl", "idl", "julia", "matlab", "octave", "scala", "javascript")}


class Malformed(Exception):
    """A file is not a notebook: the text says what it is, as the end of a sentence; ``hint`` says what to do."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A notebook of the checkout.

    Attributes:
        title: its first heading, else its name.
        kernel: the kernel that it asks for, empty if it names none.
        language: of its cells as its metadata say, lower case, empty if they do not.
        checked: it has stored outputs that nbval shall compare.
        alone: it measures: no other notebook runs beside it.
    """

    path: Path
    title: str
    kernel: str
    language: str
    checked: bool
    alone: bool = False

    @property
    def name(self) -> str:
        """``<image>/<stem>``."""
        return f"{self.path.parent.name}/{self.path.stem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What an executed notebook shows.

    Attributes:
        numbers: what it recorded.
        summary, error: of the last cell that raised; empty if none did.
        fault: why it cannot be read, empty if it can.
        there: whether papermill left anything.
    """

    numbers: Mapping[str, object] = field(default_factory=dict, hash=False)
    figures: tuple[Figure, ...] = ()
    summary: str = ""
    error: str = ""
    fault: str = ""
    there: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """With which kernel a notebook runs.

    Attributes:
        kernel, language: given to papermill; empty where the notebook's own is there.
        note: for the report, empty where the notebook gets what it asks for.
        missing: the image has no kernel of its language.
    """

    kernel: str = ""
    language: str = ""
    note: str = ""
    missing: bool = False


def read_all(paths: Iterable[Path], root: Path) -> tuple[Book, ...]:
    """Read notebooks of a checkout.

    Raises:
        HelioError: some are no notebooks; every one of them is named.
    """
    books: list[Book] = []
    faults: list[tuple[str, Malformed]] = []
    for path in paths:
        try:
            books.append(_book(path, _loaded(path)))
        except Malformed as error:
            faults.append((path.relative_to(root).as_posix(), error))
    if not faults:
        return tuple(books)
    (name, first), more = faults[0], faults[1:]
    raise HelioError(
        Stage.SMOKE,
        f"`{name}` {first}",
        where=name,
        detail="\n".join(f"`{other}` {error}" for other, error in more),
        hint=first.hint,
    ) from first


def read_executed(path: Path) -> Executed:
    """Return what an executed notebook shows; whatever it is, this raises nothing."""
    if not path.exists() and not path.is_symlink():
        return Executed(fault="papermill left no notebook", there=False)
    try:
        # A link of the container's may lead to any file of this machine.
        if path.is_symlink():
            raise Malformed("is not a file")
        return _shown(_loaded(path), path.stem)
    except Malformed as error:
        return Executed(fault=f"the notebook that papermill left {error}")


def choose(book: Book, kernels: Mapping[str, str]) -> Chosen:
    """Return the kernel that a notebook runs with: its own, else the image's of that language.

    Args:
        kernels: the image's, with their languages.

    >>> book = Book(path=Path("a.ipynb"), title="", kernel="conda-env-sunpy-py", language="", checked=False)
    >>> choose(book, {"python3": "python"}).note
    'asks for the kernel `conda-env-sunpy-py`, ran with `python3`'
    """
    languages = {name.lower(): _plain(language) for name, language in kernels.items()}
    if book.kernel.lower() in languages:
        return Chosen()
    language = _plain(book.language) or _language_of(book.kernel)
    same = sorted((name != OURS, name) for name, spoken in languages.items() if spoken == language)
    asked = f"asks for the kernel `{book.kernel}`" if book.kernel else "names no kernel"
    if not same:
        return Chosen(
            missing=True, note=f"{asked} ({language}), and the image has {', '.join(sorted(languages)) or 'none'}"
        )
    kernel = same[0][1]
    return Chosen(kernel=kernel, language=language, note=f"{asked}, ran with `{kernel}`")


def kernels_of(log: str) -> dict[str, str]:
    """Return the kernels that ``jupyter kernelspec list --json`` printed, among other lines, with their languages.

    What cannot be read is taken for an image with its own Python's kernel alone.
    """
    try:
        document, _ = json.JSONDecoder().raw_decode(log[log.index("{") :])
        return {
            name: str(spec.get("spec", {}).get("language") or "python")
            for name, spec in document["kernelspecs"].items()
        } or {OURS: "python"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {OURS: "python"}


def _plain(language: str) -> str:
    language = language.lower()
    return "python" if language.startswith(("python", "ipython")) else language


def _language_of(kernel: str) -> str:
    name = kernel.lower()
    if match := _CONDA.fullmatch(name):
        return _LANGUAGES[match[1]]
    letters = re.match(r"[a-z]*", name)
    return _LANGUAGES.get(letters[0] if letters else "", "python")


def _book(path: Path, node: NotebookNode) -> Book:
    metadata = node.get("metadata")
    spec, ours = _table(metadata, "kernelspec"), _table(metadata, "helioimages")
    language = _table(metadata, "language_info").get("name") or spec.get("language") or ""
    return Book(
        path=path,
        title=_title(node, path.stem),
        kernel=str(spec.get("name") or ""),
        language=str(language).lower(),
        checked=bool(ours.get("nbval")),
        alone=bool(ours.get("alone")),
    )


def _title(node: NotebookNode, otherwise: str) -> str:
    for cell in node.cells:
        if cell.cell_type == "markdown" and (match := re.match(r"#\s+(.+)", cell.source)):
            return match[1].strip()
    return otherwise


def _table(value: object, key: str) -> Mapping[str, Any]:
    table = value.get(key) if isinstance(value, Mapping) else None
    return table if isinstance(table, Mapping) else {}


def _loaded(path: Path) -> NotebookNode:
    try:
        # A pipe would be read for ever.
        if not path.is_file():
            raise Malformed("is not a file")
        data = path.read_bytes()
    except OSError as error:
        raise Malformed(f"cannot be read: {error.strerror or error}") from error
    return parse(data)


def parse(data: bytes) -> NotebookNode:
    """Return a notebook of format 4; older ones are converted, as papermill does.

    Raises:
        Malformed: says what the bytes are instead.
    """
    # Its libraries take a second to load, which other verbs and shell completion need not wait for.
    import nbformat

    document = _document(_text(data))
    version = document.get("nbformat")
    if version is None:
        raise Malformed("is JSON but no notebook: it has no `nbformat`")
    if type(version) is not int or not 1 <= version <= _NEWEST:
        raise Malformed(
            f"has the format {version!r}: papermill reads nbformat 1 to {_NEWEST}",
            f"save it as nbformat {_NEWEST}, e.g. with JupyterLab of the image",
        )
    try:
        node: NotebookNode = nbformat.from_dict(document)  # type: ignore[no-untyped-call]
        if version < _NEWEST:
            node = nbformat.convert(node, _NEWEST)  # type: ignore[no-untyped-call]
    except Exception as error:  # what a converter meets in a malformed old notebook has no common class
        raise Malformed(f"cannot be converted from nbformat {version}: {error}") from error
    _check_cells(node)
    return node


def _text(data: bytes) -> str:
    if not data.strip():
        raise Malformed("is empty", "`git checkout` it, or save it again")
    if data.startswith(_LFS):
        raise Malformed("is a pointer of git-lfs, and its content is not here", "run `git lfs pull`")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            if encoding:
                raise Malformed(f"is {encoding}: expected UTF-8", "save it as UTF-8")
            raise Malformed(
                "begins with a byte order mark, which no reader of notebooks takes", "save it as UTF-8 without BOM"
            )
    if b"\0" in data[:4]:
        raise Malformed("is not text: expected UTF-8", "save it as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        raise Malformed(f"is not UTF-8 at line {at}: byte 0x{data[error.start]:02x}", "save it as UTF-8") from error
    if match := _CONFLICT.search(text):
        line = text.count("\n", 0, match.start()) + 1
        raise Malformed(f"has conflict marks of a merge at line {line}", "solve the conflict, or take one side of it")
    return text


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise Malformed(f"is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Malformed("is JSON but no notebook: expected an object")
    return document


def _check_cells(node: NotebookNode) -> None:
    cells = node.get("cells")
    if not isinstance(cells, list):
        raise Malformed("is JSON but no notebook: expected `cells` to be a list")
    for index, cell in enumerate(cells):
        if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
            raise Malformed(f"is malformed at cells[{index}]: expected an object with a `cell_type`")
        source = cell.get("source")
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = cell["source"] = "".join(source)
        if not isinstance(source, str):
            raise Malformed(f"is malformed at cells[{index}].source: expected text")
        # Tools that merge notebooks write the marks into the cells.
        if len(_CONFLICT.findall(source)) > 1:
            raise Malformed(
                f"has conflict marks of a merge in cell {index}", "solve the conflict, or take one side of it"
            )


def _shown(node: NotebookNode, stem: str) -> Executed:
    numbers: dict[str, object] = {}
    figures: list[Figure] = []
    summary = error = ""
    for index, cell in enumerate(node.cells):
        try:
            for output in Table(cell, "", f"cells[{index}]", _FORM).tables("outputs"):
                data = output.table("data")
                numbers |= data.take(NUMBERS, dict, {})
                if png := _picture(data):
                    figures.append(Figure(cell=index, png=png, alt=_alt(data, stem)))
                if output.text("output_type", "") == "error":
                    summary = f"{output.text('ename', '')}: {output.text('evalue', '')}"[:300]
                    traceback = output.strings("traceback", required=True)
                    error = f"cell {index}\n" + without_colours("\n".join(traceback))
        except HelioError as fault:
            raise Malformed(f"is malformed at {fault.where}: {fault.detail}") from fault
    return Executed(numbers=numbers, figures=tuple(figures), summary=summary, error=error)


def _picture(data: Table) -> bytes:
    """Return an output's picture; empty where there is none."""
    try:
        return base64.b64decode(data.multiline("image/png", ""))
    except ValueError as error:
        raise data.wrong("image/png", "base64", "another text") from error


def _alt(data: Table, stem: str) -> str:
    text = data.multiline("text/plain", "")
    return f"figure of {stem}" if not text or text.startswith("<Figure") else text[:120]


def joined(value: Any) -> str:
    """Return a text that may be stored as a list of lines. Spec: nbformat 4, "multiline strings"."""
    return "".join(value or ())


def without_colours(text: str) -> str:
    """Return a text without the codes that colour a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
