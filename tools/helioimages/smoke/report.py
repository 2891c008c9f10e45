"""The smoke report: `report.json` for machines, `report.html` for people; each one file that fetches nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.templates import pages
from ..core.words import count, human_size, plural
from ..spec.image import ImageSpec

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One picture of a notebook: PNG bytes, the cell that made it, and a text for those who do not see it."""

    cell: int
    png: bytes
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one notebook gave.

    Attributes:
        name: ``<image>/<stem>``.
        status: ``passed``, ``failed``, ``timeout`` or ``oom``.
        seconds: of its container, papermill's start included; more where others ran beside it.
        cpu_seconds: of processors, in its container, None where the engine does not tell.
        summary: the error in a line, empty if it passed.
        error: the failing cell and its traceback.
        numbers: what the notebook recorded with the numbers MIME type.
        notebook: file name of the executed notebook beside the report.
        note: what was otherwise than the notebook asks: its kernel.
        page: file name of the same to read in a browser, empty if there is none.
    """

    name: str
    title: str
    status: str
    seconds: float
    peak_memory_bytes: int | None
    summary: str
    error: str
    numbers: Mapping[str, object] = field(hash=False)
    figures: tuple[Figure, ...] = field(hash=False)
    notebook: str
    note: str = ""
    page: str = ""
    cpu_seconds: float | None = None


def write(
    out: Path,
    image: ImageSpec,
    reference: str,
    results: Sequence[Result],
    *,
    network: bool = False,
    at_once: int = 1,
) -> None:
    """Write both reports into ``out``.

    Args:
        network: the notebooks could reach it.
        at_once: notebooks that ran at a time.
    """
    (out / "report.json").write_text(as_json(image, reference, results, at_once=at_once), "utf-8")
    (out / "report.html").write_text(as_html(image, reference, results, network=network, at_once=at_once), "utf-8")


def as_json(image: ImageSpec, reference: str, results: Sequence[Result], *, at_once: int = 1) -> str:
    """Return the JSON report, version 1: docs/reference.md describes it."""
    rows = []
    for result in results:
        row = {key: value for key, value in asdict(result).items() if key != "figures"}
        rows.append(row | {"numbers": dict(result.numbers), "figures": len(result.figures)})
    document = {
        "version": 1,
        "image": image.name,
        "reference": reference,
        "passed": bool(results) and all(result.status == "passed" for result in results),
        "at_once": at_once,
        "notebooks": rows,
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def as_html(
    image: ImageSpec, reference: str, results: Sequence[Result], *, network: bool = False, at_once: int = 1
) -> str:
    """Return the page."""
    return _template().render(
        image=image,
        reference=reference,
        results=results,
        network=network,
        at_once=at_once,
        passed=sum(result.status == "passed" for result in results),
        seconds=sum(result.seconds for result in results),
    )


@cache
def _template() -> Template:
    environment = pages(_TEMPLATES)
    environment.filters["b64"] = lambda data: base64.b64encode(data).decode()
    environment.filters |= {"size": human_size, "count": count, "plural": plural, "number": _number}
    return environment.get_template("report.html.j2")


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
