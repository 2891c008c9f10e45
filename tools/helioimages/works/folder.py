"""A team's folder: which of its files are published, copied to a place where notebooks may write.

Hidden files and what Python and Jupyter leave behind stay at home: a crate is public, and ``.env`` is where people keep
passwords. Data beyond `MOST_BYTES` belong in an archive of data, and notebooks read them from there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..core import files as core_files
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..core.words import human_size
from ..machine import mounts
from . import citation, work
from .citation import Citation
from .work import PATH, WorkFile

#: Of all files of a work: they become one artifact of a registry.
MOST_FILES, MOST_BYTES = 5_000, 256 << 20
#: The last are what this tool writes where it is called.
_LEFT_OUT = ("__pycache__", "node_modules", "_work", "_restored", "_report", "_catalogue")
#: Of the image's user, who runs the notebooks.
UID = 1000


def said(folder: Path) -> Citation:
    """Return what the folder's CITATION.cff says.

    Raises:
        HelioError: it is missing, with what to write, or malformed.
    """
    path = folder / citation.NAME
    try:
        return citation.parse(path.read_text("utf-8-sig"), str(path))
    except FileNotFoundError as error:
        raise citation.missing(str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise HelioError(Stage.SPEC, f"cannot read `{path}`", where=str(path), detail=str(error)) from error


def paths(folder: Path, output: Path) -> tuple[str, ...]:
    """Return the files of a folder that are published, sorted, with slashes.

    Args:
        output: the crate, which may be within; other crates in there stay out as well.

    Raises:
        HelioError: it is not a folder, or it has a link, an odd file, or too much.
    """
    if not folder.is_dir():
        raise HelioError(Stage.USAGE, f"`{folder}` is not a folder", detail="expected a folder with notebooks")
    paths = tuple(sorted(_walk(folder, output.resolve())))
    size = sum((folder / path).stat().st_size for path in paths)
    if len(paths) > MOST_FILES or size > MOST_BYTES:
        raise HelioError(
            Stage.USAGE,
            f"`{folder}` is too large to be published with its notebooks",
            detail=f"expected at most {MOST_FILES:,} files and {human_size(MOST_BYTES)} not {len(paths):,} files "
            f"and {human_size(size)}",
            hint="deposit large data in an archive, and let the notebooks read them from there (--network)",
        )
    return paths


def _walk(folder: Path, output: Path) -> Iterator[str]:
    for top, names, files in os.walk(folder):
        names[:] = sorted(
            name
            for name in names
            if not (name.startswith(".") or name in _LEFT_OUT)
            and Path(top, name).resolve() != output
            and not Path(top, name, work.NAME).is_file()
        )
        for name in [*files, *names]:
            path = Path(top, name)
            inside = path.relative_to(folder).as_posix()
            if name.startswith("."):
                continue
            if path.is_symlink() or (name in files and not path.is_file()):
                raise HelioError(
                    Stage.USAGE,
                    f"`{inside}` is a link or a special file",
                    where=str(folder),
                    detail="a crate holds plain files: whoever restores it has only these",
                    hint="put a copy of the file there",
                )
            if not PATH.fits(inside):
                raise HelioError(Stage.USAGE, f"`{inside!r}` cannot be the name of a published file", where=str(folder))
            if name in files:
                yield inside


def books(paths: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Return the notebooks among files, in the order in which they run: by path.

    Raises:
        HelioError: there is none.
    """
    notebooks = tuple(path for path in paths if path.endswith(".ipynb"))
    if not notebooks:
        raise HelioError(
            Stage.USAGE,
            f"`{folder}` has no notebooks",
            detail="expected at least one file .ipynb that is not hidden",
            hint="what is published is what notebooks give",
        )
    return notebooks


def of(folder: Path, paths: tuple[str, ...], prefix: str) -> tuple[WorkFile, ...]:
    """Return files as a crate has them, below ``prefix/``."""
    return tuple(
        WorkFile(
            path=f"{prefix}/{path}", size=(folder / path).stat().st_size, sha256=core_files.of_file(folder / path)[7:]
        )
        for path in paths
    )


@contextlib.contextmanager
def scratch(folder: Path, paths: tuple[str, ...]) -> Iterator[Path]:
    """Yield a copy of a folder's files that the image's user can write, removed at the end."""
    top = Path(tempfile.mkdtemp(prefix="work-"))
    try:
        copy = top / "work"
        for path in paths:
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / path, copy / path)
        (top / "out").mkdir()
        for opened in (top, *top.rglob("*")):
            opened.chmod(0o777 if opened.is_dir() else 0o666)
            with contextlib.suppress(PermissionError):
                os.chown(opened, UID, UID)
        yield top
    finally:
        if mounts.below(top):
            say(f"warning: something is mounted below {top}; it stays")
        else:
            shutil.rmtree(top, ignore_errors=True)
