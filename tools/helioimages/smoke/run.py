"""Smoke: papermill runs notebooks inside an image, as a hub would run them, and what they show is kept.

Each notebook has a container of its own: uid 1000, no network, limits on memory, time and processes, an empty writable
home. An image runs its own notebooks after its ancestors'. Results become `report.json` and `report.html`.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.digest import key_of, of_bytes
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..engines.engine import Engine, RunResult
from ..machine import mounts
from ..spec.image import ImageSpec
from . import report
from .report import Figure, Result

if TYPE_CHECKING:
    from nbformat import NotebookNode

NUMBERS = "application/vnd.helioimages.numbers+json"
_UID = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeReport:
    """What a smoke run gave: one result a notebook, in the order they ran."""

    image: str
    reference: str
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether every notebook passed, and there was one."""
        return bool(self.results) and all(result.status == "passed" for result in self.results)


def notebooks(lineage: Sequence[ImageSpec], root: Path) -> tuple[Path, ...]:
    """Return the notebooks of an image: its ancestors' first, each folder by name."""
    return tuple(path for image in lineage for path in sorted((root / "smoke-notebooks" / image.name).glob("*.ipynb")))


def key(digest: str, lineage: Sequence[ImageSpec], root: Path) -> str:
    """Return what a passed run is remembered by: the image and every file that the run reads."""
    files = [
        [path.relative_to(root).as_posix(), of_bytes(path.read_bytes())]
        for image in lineage
        for folder in (root / "smoke-notebooks" / image.name, root / "environments" / image.environment)
        for path in sorted(folder.glob("*"))
        if path.is_file() and (path.suffix in (".ipynb", ".py") or path.name == "imports.toml")
    ]
    return key_of(["smoke", 1, digest, files])


def smoke(
    engine: Engine,
    reference: str,
    image: ImageSpec,
    lineage: Sequence[ImageSpec],
    root: Path,
    out: Path,
    *,
    jobs: int = 1,
    only: Sequence[str] = (),
    parameters: Mapping[str, str] | None = None,
    network: bool = False,
    gpus: str | None = None,
) -> SmokeReport:
    """Run the notebooks of an image and write the report.

    Args:
        reference: the image, by digest, where the engine can pull it.
        lineage: the image's ancestors, oldest first, and itself.
        out: a folder for executed notebooks, ``report.json`` and ``report.html``.
        jobs: containers at once.
        only: stems of notebooks to run; all if empty.
        parameters: given to papermill.
        network: the container may reach the network.
        gpus: how many NVIDIA GPUs a container gets, a number or ``all``; None gives none.

    Raises:
        HelioError: ``only`` names a notebook that the image has not, or the engine fails.
    """
    found = notebooks(lineage, root)
    if missing := [stem for stem in only if stem not in {path.stem for path in found}]:
        raise HelioError(
            Stage.USAGE,
            f"`{image.name}` has no notebook " + ", ".join(f"`{stem}`" for stem in missing),
            detail="expected one of " + (", ".join(path.stem for path in found) or "none"),
            hint="name the image whose notebook it is: `buildimages smoke IMAGE --only NOTEBOOK`",
        )
    engine.pull(reference)
    out.mkdir(parents=True, exist_ok=True)
    chosen = [path for path in found if not only or path.stem in only]

    def one(path: Path) -> Result:
        owner = next(spec for spec in lineage if spec.name == path.parent.name)
        result = _run(engine, reference, path, image, owner, root, out, parameters or {}, network, gpus)
        memory = f", {result.peak_memory_bytes / 2**20:,.0f} MiB" if result.peak_memory_bytes else ""
        say(f"    {result.name}: {result.status} in {result.seconds:.1f} s{memory} {result.summary}".rstrip())
        return result

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        results = tuple(pool.map(one, chosen))
    done = SmokeReport(image=image.name, reference=reference, results=results)
    report.write(out, image, reference, results, network=network)
    return done


def _run(
    engine: Engine,
    reference: str,
    path: Path,
    image: ImageSpec,
    owner: ImageSpec,
    root: Path,
    out: Path,
    parameters: Mapping[str, str],
    network: bool,
    gpus: str | None,
) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="smoke-"))
    try:
        # The container's user must be able to write it, whoever we are.
        folder.chmod(0o777)
        with contextlib.suppress(PermissionError):
            os.chown(folder, _UID, _UID)
        mounts = {"/smoke": (path.parent, "ro"), "/out": (folder, "rw")}
        imports = root / "environments" / owner.environment / "imports.toml"
        if imports.exists():
            mounts["/smoke-data/imports.toml"] = (imports, "ro")
        target = f"/out/{path.name}"
        argv = ["python", "-m", "papermill", "--no-progress-bar", "--cwd", "/out"]
        for name, value in parameters.items():
            argv += ["-p", name, value]
        argv += [f"/smoke/{path.name}", target]
        if _is_checked(path):
            argv = [
                "bash",
                "-c",
                '"$@" && exec python -m pytest -q -p no:cacheprovider --nbval-lax "$0"',
                *_nbval(argv),
            ]
        ran = engine.run(
            reference,
            argv,
            user=str(_UID),
            network="bridge" if network else "none",
            memory=image.smoke.memory,
            cpus=image.smoke.cpus,
            mounts=mounts,
            tmpfs={"/home/jovyan": f"rw,exec,uid={_UID},gid={_UID},mode=0755", "/dev/shm": "rw,size=1g"},
            env={"HELIOIMAGES_IMPORTS": "/smoke-data/imports.toml", "HELIOIMAGES_IMAGE": image.name},
            workdir="/out",
            timeout_s=image.smoke.timeout,
            gpus=gpus,
        )
        executed = folder / path.name
        # What an earlier run left here is not what this one did.
        (out / path.name).unlink(missing_ok=True)
        if executed.exists():
            shutil.copyfile(executed, out / path.name)
        return _result(path, executed, ran)
    finally:
        _remove(folder)


def _nbval(argv: list[str]) -> list[str]:
    # $0 is the notebook that nbval checks, the rest is papermill's command.
    return [argv[-2], *argv]


def _is_checked(path: Path) -> bool:
    """Say whether a notebook carries stored outputs that nbval shall compare."""
    return bool(_read(path).metadata.get("helioimages", {}).get("nbval"))


def _result(path: Path, executed: Path, ran: RunResult) -> Result:
    numbers: dict[str, object] = {}
    figures: list[Figure] = []
    error = ""
    summary = ""
    if executed.exists():
        for index, cell in enumerate(_read(executed).cells):
            for output in cell.get("outputs", ()):
                data = output.get("data", {})
                numbers |= data.get(NUMBERS, {})
                if png := data.get("image/png"):
                    figures.append(Figure(cell=index, png=base64.b64decode(png), alt=_alt(data, path)))
                if output.get("output_type") == "error":
                    summary = f"{output.ename}: {output.evalue}"[:300]
                    error = f"cell {index}\n" + _plain("\n".join(output.traceback))
    status = "passed"
    if ran.timed_out:
        status = "timeout"
    elif ran.oom_killed:
        status = "oom"
    elif ran.exit_code:
        status = "failed"
    if status != "passed" and not error:
        error = _plain("\n".join(ran.log.splitlines()[-30:]))
        summary = summary or (error.splitlines() or ["no output"])[-1][:300]
    return Result(
        name=f"{path.parent.name}/{path.stem}",
        title=_title(path),
        status=status,
        seconds=round(ran.seconds, 3),
        peak_memory_bytes=ran.peak_memory_bytes,
        summary=summary if status != "passed" else "",
        error=error if status != "passed" else "",
        numbers=numbers,
        figures=tuple(figures),
        notebook=path.name,
    )


def _title(path: Path) -> str:
    for cell in _read(path).cells:
        if cell.cell_type == "markdown" and (match := re.match(r"#\s+(.+)", cell.source)):
            return match[1].strip()
    return path.stem


def _alt(data: Mapping[str, str], path: Path) -> str:
    text = data.get("text/plain", "")
    return f"figure of {path.stem}" if not text or text.startswith("<Figure") else text[:120]


def _read(path: Path) -> NotebookNode:
    # Its libraries take a second to load, which other verbs and shell completion need not wait for.
    import nbformat

    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _remove(folder: Path) -> None:
    """Remove a scratch folder, refusing while something is mounted below it."""
    if mounts.below(folder):
        say(f"warning: something is mounted below {folder}; it stays")
        return
    shutil.rmtree(folder, ignore_errors=True)
