"""Run a work's notebooks in its image: one container each, in their order, in one folder that they share.

As `smoke` runs an image's own: the image's user, limits on memory, time and processes, no network unless it is asked
for. Here notebooks lie in a copy of the team's folder, and may write there for those that come after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import files
from ..core.errors import HelioError, Stage
from ..core.progress import bar, say, step
from ..engines.engine import Engine, RunOptions
from ..smoke import books
from ..smoke.books import Book, Chosen
from .folder import UID

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Where the folder is in a container, and where papermill writes.
_WORK, _OUT = "/work", "/out"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRunOptions:
    """What notebooks are given.

    Attributes:
        parameters: for papermill.
        memory, cpus, timeout_s: of each container.
        gpus: as in `engine.RunOptions`.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    memory: str = "8g"
    cpus: float = 4.0
    timeout_s: float = 3600
    gpus: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A notebook that ran to its end.

    Attributes:
        path: within the folder.
        node: its executed copy.
        made: the files that it wrote or changed, by path within the folder.
    """

    path: str
    title: str
    language: str
    node: NotebookNode = field(hash=False)
    made: tuple[str, ...]


def run(engine: Engine, reference: str, top: Path, notebooks: Sequence[str], options: WorkRunOptions) -> Iterator[Ran]:
    """Run notebooks one after another and yield each as it ends.

    Args:
        reference: the image, by digest, which the engine has.
        top: of `folder.scratch`.

    Raises:
        HelioError: one is no notebook, wants a kernel that the image lacks, or failed; no other runs then.
    """
    work = top / "work"
    wanted = books.read_all((work / path for path in notebooks), work)
    usual = all(book.kernel == books.OURS for book in wanted)
    kernels = {books.OURS: "python"} if usual else _kernels(engine, reference)
    place = _WorkRun(engine=engine, reference=reference, top=top, kernels=kernels, options=options)
    with bar("notebooks", len(wanted), unit="notebook") as advance:
        for path, book in zip(notebooks, wanted, strict=True):
            before = _digests(work)
            with step(f"notebook {path}", told=False):
                node = place.run(path, book)
            advance(1)
            after = _digests(work)
            made = tuple(sorted(name for name, digest in after.items() if before.get(name) != digest))
            yield Ran(path=path, title=book.title, language=book.language or "python", node=node, made=made)


def _kernels(engine: Engine, reference: str) -> dict[str, str]:
    ran = engine.run(reference, ["jupyter", "kernelspec", "list", "--json"], RunOptions(user=str(UID)))
    return books.kernels_of(ran.log)


def _digests(work: Path) -> dict[str, str]:
    """Return the files of the folder that may be published, with their digests; links and pipes are none."""
    digests = {}
    for path in sorted(work.rglob("*")):
        inside = path.relative_to(work)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
        if not hidden and path.is_file() and not path.is_symlink():
            digests[inside.as_posix()] = files.of_file(path)
    return digests


@dataclass(frozen=True, slots=True, kw_only=True)
class _WorkRun:
    """What every notebook of a run is given."""

    engine: Engine
    reference: str
    top: Path
    kernels: Mapping[str, str]
    options: WorkRunOptions

    def run(self, path: str, book: Book) -> NotebookNode:
        """Run one notebook and return its executed copy."""
        chosen = books.choose(book, self.kernels)
        if chosen.missing:
            raise HelioError(
                Stage.SMOKE, f"`{path}` cannot run in this image", where=self.reference, detail=chosen.note
            )
        executed = self.top / "out" / "executed.ipynb"
        executed.unlink(missing_ok=True)
        ran = self.engine.run(self.reference, self._argv(path, chosen), self._given(path))
        shown = books.read_executed(executed)
        if ran.exit_code or ran.timed_out or ran.oom_killed or shown.fault:
            how = "took too long" if ran.timed_out else "needs more memory" if ran.oom_killed else "failed"
            last = books.without_colours("\n".join(ran.log.splitlines()[-12:]))
            raise HelioError(
                Stage.SMOKE,
                f"`{path}` {how}",
                where=self.reference,
                detail=shown.error or (shown.fault if shown.there else "") or last,
                hint=f"mend it in the image: buildimages run --from {self.reference} --notebook {path}",
            )
        say(f"    {path}: passed in {ran.seconds:.1f} s" + (f" ({chosen.note})" if chosen.note else ""))
        return books.parse(executed.read_bytes())

    def _argv(self, path: str, chosen: Chosen) -> list[str]:
        argv = ["python", "-m", "papermill", "--no-progress-bar", "--cwd", _within(path)]
        if chosen.kernel:
            argv += ["-k", chosen.kernel, "-l", chosen.language]
        for name, value in sorted(self.options.parameters.items()):
            argv += ["-p", name, value]
        return [*argv, f"{_WORK}/{path}", f"{_OUT}/executed.ipynb"]

    def _given(self, path: str) -> RunOptions:
        return RunOptions(
            user=str(UID),
            network="bridge" if self.options.network else "none",
            memory=self.options.memory,
            cpus=self.options.cpus,
            mounts={_WORK: (self.top / "work", "rw"), _OUT: (self.top / "out", "rw")},
            tmpfs={"/home/jovyan": f"rw,exec,uid={UID},gid={UID},mode=0755", "/dev/shm": "rw,size=1g"},
            workdir=_within(path),
            timeout_s=self.options.timeout_s,
            gpus=self.options.gpus,
        )


def _within(path: str) -> str:
    """Return the folder of a notebook in the container."""
    return (Path(_WORK) / path).parent.as_posix()
