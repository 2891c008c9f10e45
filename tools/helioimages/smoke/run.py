"""Smoke: papermill runs notebooks inside an image, as a hub would run them, and what they show is kept.

Each notebook has a container of its own: uid 1000, no network, limits on memory, time and processes, an empty writable
home. An image runs its own notebooks after its ancestors'. Results become `report.json` and `report.html`, and each
notebook a page.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core import threads
from ..core.digest import key_of, of_bytes
from ..core.errors import HelioError, Stage
from ..core.near import meant
from ..core.progress import bar, say, step
from ..core.words import human_size
from ..engines.engine import Engine, RunOptions, RunResult
from ..machine import mounts
from ..spec.image import ImageSpec
from . import books, rendered, report, room
from .books import Book, Chosen, Executed
from .report import Result

_UID = 1000
#: What notebooks read beside them.
_READ = (".ipynb", ".py", ".toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How notebooks run.

    Attributes:
        only: stems of notebooks to run; all if empty.
        parameters: given to papermill.
        network: the container may reach the network.
        gpus: how many NVIDIA GPUs a container gets, a number or ``all``; None gives none.
        jobs: containers at once; None is as many as the engine has processors and memory for.
    """

    only: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    gpus: str | None = None
    jobs: int | None = None


#: All notebooks, without the network.
USUAL = Options()


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


def check_only(lineage: Sequence[ImageSpec], root: Path, only: Sequence[str]) -> None:
    """Refuse stems of notebooks that an image has not; what is asked before it is built costs nothing.

    Raises:
        HelioError: one is not there; the one that was meant is named.
    """
    stems = [path.stem for path in notebooks(lineage, root)]
    if missing := [stem for stem in only if stem not in stems]:
        raise HelioError(
            Stage.USAGE,
            f"`{lineage[-1].name}` has no notebook " + ", ".join(f"`{stem}`" for stem in missing),
            detail="expected one of " + (", ".join(stems) or "none"),
            hint=meant(missing[0], stems)
            or "name the image whose notebook it is: `buildimages smoke IMAGE --only NOTEBOOK`",
        )


def key(digest: str, lineage: Sequence[ImageSpec], root: Path) -> str:
    """Return what a passed run is remembered by: the image and every file that the run reads."""
    files = [
        [path.relative_to(root).as_posix(), of_bytes(path.read_bytes())]
        for image in lineage
        for folder, pattern in (
            (root / "smoke-notebooks" / image.name, "*"),
            (root / "environments" / image.environment, "imports.toml"),
        )
        for path in sorted(folder.glob(pattern))
        if path.is_file() and path.suffix in _READ
    ]
    return key_of(["smoke", 1, digest, files])


def smoke(
    engine: Engine, reference: str, lineage: Sequence[ImageSpec], root: Path, out: Path, options: Options = USUAL
) -> SmokeReport:
    """Run the notebooks of an image and write the report.

    Args:
        reference: the image, by digest, where the engine can pull it.
        lineage: the image's ancestors, oldest first, and itself.
        out: a folder for executed notebooks, ``report.json`` and ``report.html``.

    Raises:
        HelioError: ``options.only`` names a notebook that the image has not, a file of the checkout is no notebook, or
            the engine fails.
    """
    image, only = lineage[-1], options.only
    check_only(lineage, root, only)
    paths = notebooks(lineage, root)
    wanted = books.read_all((path for path in paths if not only or path.stem in only), root)
    engine.pull(reference)
    out.mkdir(parents=True, exist_ok=True)
    runner = _NotebookRunner(engine=engine, reference=reference, image=image, root=root, out=out, options=options)
    # Every image has this one; the image is asked only where a notebook wants another.
    usual = all(book.kernel == books.OURS for book in wanted)
    kernels = {books.OURS: "python"} if usual else runner.kernels()

    at_once = min(options.jobs or room.at_once(image.smoke, engine.room()), max(1, len(wanted)))

    def run_book(book: Book) -> Result:
        owner = next(spec for spec in lineage if spec.name == book.path.parent.name)
        chosen = books.choose(book, kernels)
        if chosen.missing:
            result = _without_kernel(book, chosen.note)
        else:
            with step(f"notebook {book.name}", told=False):
                result = runner.run(book, chosen, owner.environment)
        advance(1)
        memory = f", {human_size(result.peak_memory_bytes)}" if result.peak_memory_bytes else ""
        note = f" ({result.note})" if result.note and not chosen.missing else ""
        say(f"    {result.name}: {result.status} in {result.seconds:.1f} s{memory} {result.summary}".rstrip() + note)
        return result

    ran: dict[Book, Result] = {}
    with bar(f"notebooks of {image.name}", len(wanted), unit="notebook") as advance:
        for alone, jobs in ((False, at_once), (True, 1)):
            chosen = [book for book in wanted if book.alone is alone]
            with threads.pool(jobs, end=engine.abandon) as pool:
                ran |= zip(chosen, pool.map(run_book, chosen), strict=True)
    results = tuple(ran[book] for book in wanted)
    done = SmokeReport(image=image.name, reference=reference, results=results)
    report.write(out, image, reference, results, network=options.network, at_once=at_once)
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class _NotebookRunner:
    """What every notebook of a run is given."""

    engine: Engine
    reference: str
    image: ImageSpec
    root: Path
    out: Path
    options: Options

    def kernels(self) -> dict[str, str]:
        """Return the image's kernels with their languages, as it says itself."""
        ran = self.engine.run(
            self.reference,
            ["jupyter", "kernelspec", "list", "--json"],
            RunOptions(
                user=str(_UID),
                memory=self.image.smoke.memory,
                cpus=self.image.smoke.cpus,
                timeout_s=self.image.smoke.timeout,
            ),
        )
        return books.kernels_of(ran.log)

    def run(self, book: Book, chosen: Chosen, environment: str) -> Result:
        """Run one notebook in a container of its own.

        Args:
            environment: of the image that the notebook belongs to.
        """
        folder = Path(tempfile.mkdtemp(prefix="smoke-"))
        try:
            # The container's user must be able to write it, whoever we are.
            folder.chmod(0o777)
            with contextlib.suppress(PermissionError):
                os.chown(folder, _UID, _UID)
            path = book.path
            given = {"/smoke": (path.parent, "ro"), "/out": (folder, "rw")}
            imports = self.root / "environments" / environment / "imports.toml"
            if imports.exists():
                given["/smoke-data/imports.toml"] = (imports, "ro")
            options = RunOptions(
                user=str(_UID),
                network="bridge" if self.options.network else "none",
                memory=self.image.smoke.memory,
                cpus=self.image.smoke.cpus,
                mounts=given,
                tmpfs={"/home/jovyan": f"rw,exec,uid={_UID},gid={_UID},mode=0755", "/dev/shm": "rw,size=1g"},
                env={"HELIOIMAGES_IMPORTS": "/smoke-data/imports.toml", "HELIOIMAGES_IMAGE": self.image.name},
                workdir="/out",
                timeout_s=self.image.smoke.timeout,
                gpus=self.options.gpus,
            )
            ran = self.engine.run(self.reference, _argv(book, chosen, self.options.parameters), options)
            executed = folder / path.name
            # What an earlier run left here is not what this one did.
            (self.out / path.name).unlink(missing_ok=True)
            # The container may have left a link to a file of this machine.
            if executed.is_file() and not executed.is_symlink():
                with contextlib.suppress(PermissionError):
                    shutil.copyfile(executed, self.out / path.name)
            page = rendered.write(self.out, path.name, book.title)
            return replace(_result(book, chosen.note, books.read_executed(executed), ran), page=page)
        finally:
            _remove(folder)


def _argv(book: Book, chosen: Chosen, parameters: Mapping[str, str]) -> list[str]:
    name = book.path.name
    argv = ["python", "-m", "papermill", "--no-progress-bar", "--cwd", "/out"]
    if chosen.kernel:
        argv += ["-k", chosen.kernel, "-l", chosen.language]
    for key_, value in parameters.items():
        argv += ["-p", key_, value]
    argv += [f"/smoke/{name}", f"/out/{name}"]
    if not book.checked:
        return argv
    nbval = "python -m pytest -q -p no:cacheprovider --nbval-lax"
    nbval += f" --nbval-kernel-name {shlex.quote(chosen.kernel)}" if chosen.kernel else ""
    # $0 is the notebook that nbval checks, the rest is papermill's command.
    return ["bash", "-c", f'"$@" && exec {nbval} "$0"', argv[-2], *argv]


def _result(book: Book, note: str, shown: Executed, ran: RunResult) -> Result:
    status = "passed"
    if ran.timed_out:
        status = "timeout"
    elif ran.oom_killed:
        status = "oom"
    elif ran.exit_code or shown.fault:
        status = "failed"
    summary, error = shown.summary, shown.error
    if status != "passed" and not error:
        error = books.without_colours("\n".join(ran.log.splitlines()[-30:]))
        summary = summary or (error.splitlines() or ["no output"])[-1][:300]
    if shown.fault and (shown.there or not ran.exit_code):
        error = f"{shown.fault}\n{error}".rstrip()
        if not ran.exit_code:
            summary = shown.fault[:300]
    return Result(
        name=book.name,
        title=book.title,
        status=status,
        seconds=round(ran.seconds, 3),
        peak_memory_bytes=ran.peak_memory_bytes,
        cpu_seconds=None if ran.cpu_seconds is None else round(ran.cpu_seconds, 1),
        summary=summary if status != "passed" else "",
        error=error if status != "passed" else "",
        numbers=shown.numbers,
        figures=shown.figures,
        notebook=book.path.name,
        note=note,
    )


def _without_kernel(book: Book, note: str) -> Result:
    return Result(
        name=book.name,
        title=book.title,
        status="failed",
        seconds=0.0,
        peak_memory_bytes=None,
        summary=note[:300],
        error=note,
        numbers={},
        figures=(),
        notebook=book.path.name,
        note=note,
    )


def _remove(folder: Path) -> None:
    """Remove a scratch folder, refusing while something is mounted below it."""
    if mounts.below(folder):
        say(f"warning: something is mounted below {folder}; it stays")
        return
    shutil.rmtree(folder, ignore_errors=True)
