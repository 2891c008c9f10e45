"""Smoke runs without an engine: a checkout of notebooks, and containers that end and leave what a test says."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import v4

from helioimages.engines.engine import RunOptions, RunResult
from helioimages.smoke import run as smoke
from helioimages.smoke.report import Result
from helioimages.spec.image import ImageSpec, SmokeSpec

BASE = ImageSpec(name="base", path=Path("images/base"), title="Base", description="", environment="base-env")
HELIO = ImageSpec(
    name="helio",
    path=Path("images/helio"),
    title="Helio",
    description="",
    environment="helio-env",
    parent="base",
    smoke=SmokeSpec(memory="6g", timeout=77, cpus=1.5),
)
LINEAGE = (BASE, HELIO)
REFERENCE = "127.0.0.1:5000/helio@sha256:" + "0" * 64


def ended(code: int = 0, log: str = "", *, timed_out: bool = False, oom: bool = False) -> RunResult:
    return RunResult(
        exit_code=code,
        log=log,
        seconds=1.23456,
        cpu_seconds=0.876,
        peak_memory_bytes=3 << 20,
        timed_out=timed_out,
        oom_killed=oom,
    )


def failing(name: str, value: str, *trace: str) -> Any:
    return v4.new_output("error", ename=name, evalue=value, traceback=list(trace))


@dataclass
class FakeEngine:
    """Ends each container as told, by the notebook's stem, and leaves the outputs or the bytes told."""

    ends: dict[str, RunResult] = field(default_factory=dict)
    outputs: dict[str, list[Any] | None] = field(default_factory=dict)
    left: dict[str, bytes] = field(default_factory=dict)
    kernels: dict[str, str] = field(default_factory=lambda: {"python3": "python"})
    has: tuple[int, int] = (2, 8 << 30)
    pulled: list[str] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def pull(self, reference: str) -> None:
        self.pulled.append(reference)

    def room(self) -> tuple[int, int]:
        return self.has

    def abandon(self) -> None:
        """An interrupt came."""

    def run(self, image: str, argv: list[str], options: RunOptions) -> RunResult:
        given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
        self.runs.append({"image": image, "argv": argv, **given})
        if argv[0] == "jupyter":
            specs = {name: {"spec": {"language": language}} for name, language in self.kernels.items()}
            return ended(0, "[W] a warning\n" + json.dumps({"kernelspecs": specs}, indent=2))
        folder = options.mounts["/out"][0]
        name = Path(argv[-1]).name
        outputs = self.outputs.get(Path(name).stem, [])
        if (data := self.left.get(Path(name).stem)) is not None:
            (folder / name).write_bytes(data)
        elif outputs is not None:
            cells = [v4.new_markdown_cell("# it ran"), v4.new_code_cell("1", outputs=outputs)]
            nbformat.write(v4.new_notebook(cells=cells), folder / name)
        return self.ends.get(Path(name).stem, ended())


def add(
    root: Path, name: str, *, title: str = "", nbval: bool = False, kernel: str = "python3", language: str = "python"
) -> Path:
    """Write a notebook of a checkout that asks for a kernel."""
    path = root / "smoke-notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [v4.new_markdown_cell(f"# {title}\nwords")] if title else []
    book = v4.new_notebook(cells=[*cells, v4.new_code_cell("1", id="fixed")])
    book.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": language}
    if nbval:
        book.metadata["helioimages"] = {"nbval": True}
    nbformat.write(book, path)
    return path


def checkout_of(tmp_path: Path) -> Path:
    """Return a checkout whose notebooks were not made in the order that they run in."""
    checkout = tmp_path / "checkout"
    for name in ("helio/20-b", "helio/00-a", "base/30-z", "base/10-y", "sibling/00-other"):
        add(checkout, name, title=f"Title of {name}")
    (checkout / "smoke-notebooks" / "helio" / "made.py").write_text("ONE = 1\n")
    for name in ("base-env", "helio-env"):
        (checkout / "environments" / name).mkdir(parents=True)
    (checkout / "environments" / "helio-env" / "imports.toml").write_text('sunpy = "sunpy"\n')
    return checkout


def run(engine: FakeEngine, root: Path, **options: Any) -> smoke.SmokeReport:
    return smoke.smoke(engine, REFERENCE, LINEAGE, root, root.parent / "out", smoke.Options(**options))


def only(engine: FakeEngine, root: Path) -> Result:
    (result,) = run(engine, root, only=("20-b",)).results
    return result
