"""The repository: a folder here or a clone of a git address, walked once, what may not be in an image refused."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ..core.digest import key_of
from ..core.entries import Content, Entry, Kind, check_path
from ..core.errors import HelioError, Stage
from ..core.files import of_file
from ..core.progress import stage
from ..core.words import count, human_size
from . import git, git_address

#: Files and bytes of a repository: beyond that it is data, which belongs beside an image.
MOST_FILES, MOST_BYTES = 50_000, 2_000_000_000
#: Bytes of one file: it is read whole.
MOST_FILE_BYTES = 500_000_000
#: How a file begins whose content git-lfs keeps elsewhere. Spec: git-lfs, docs/spec.md, "The Pointer".
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_MOST_POINTER_BYTES = 1024
_SUBMODULE = re.compile(r"\s*path\s*=\s*(.+?)\s*")
#: Ignored files that are named.
_SHOWN = 3
#: How a text of UTF-16 begins.
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository on this machine.

    Attributes:
        folder: where it lies.
        source: what was named: the address, or the folder's own name.
        commit: of git, empty where there is none or files differ from it.
        files: of its top, sorted by path: relative, without ``.git``.
        ignored: those of a folder that git ignores, whole folders by their name.
    """

    folder: Path
    source: str
    commit: str
    files: tuple[Entry, ...]
    ignored: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A name for the image: the repository's own, as registries have it."""
        address, _, folder = self.source.partition("#subdirectory=")
        path = folder or (urlsplit(address).path if "://" in address else address.replace(":", "/"))
        last = PurePosixPath(path).name
        return re.sub(r"[^a-z0-9]+", "-", last.removesuffix(".git").lower()).strip("-") or "repository"

    @property
    def warning(self) -> str:
        """What a person should know before it is in an image; mostly nothing."""
        if not self.ignored:
            return ""
        shown = ", ".join(f"`{path}`" for path in self.ignored[:_SHOWN])
        more = f" and {len(self.ignored) - _SHOWN} more" if len(self.ignored) > _SHOWN else ""
        return f"git ignores {shown}{more}, which the image has: is it to be shared?"

    @property
    def digest(self) -> str:
        """A digest of its paths, contents, links and executable bits."""
        return "sha256:" + key_of(
            [
                [entry.path, entry.kind.value, entry.mode, entry.target, entry.content.sha256 if entry.content else ""]
                for entry in self.files
            ]
        )

    def having(self, path: str, text: str) -> Repository:
        """Return the repository with a file of a text, whether it has one there or not."""
        data = text.encode()
        content = Content(len(data), lambda: data, hashlib.sha256(data).hexdigest())
        entry = Entry(path=path, kind=Kind.FILE, mode=0o644, content=content)
        kept = [other for other in self.files if other.path != path]
        return replace(self, files=tuple(sorted([*kept, entry], key=lambda other: other.path.split("/"))))

    def read(self, path: str) -> str | None:
        """Return a file's text, None if there is none.

        Raises:
            HelioError: it is not UTF-8, nor UTF-16 with its mark, which Windows' shell writes.
        """
        if path not in {entry.path for entry in self.files if entry.kind is not Kind.DIR}:
            return None
        try:
            data = (self.folder / path).read_bytes()
            return data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise HelioError(
                Stage.SPEC,
                f"`{path}` is not UTF-8",
                where=f"{path} line {line}",
                detail=str(error),
                hint="save it as UTF-8, as editors offer",
            ) from error
        except OSError as error:
            # Not what the error says of itself: it has a path of this machine.
            raise HelioError(Stage.SPEC, f"cannot read `{path}`", where=path, detail=error.strerror or "") from error

    def first_line(self, path: str) -> bytes:
        """Return a file's first line, or its beginning if it has no lines.

        Raises:
            HelioError: it cannot be read, e.g. a link to nothing.
        """
        try:
            with open(self.folder / path, "rb") as file:
                return file.readline(256)
        except OSError as error:
            raise HelioError(Stage.SPEC, f"cannot read `{path}`", where=path, detail=error.strerror or "") from error


@contextlib.contextmanager
def opened(source: str, ref: str = "", *, scratch: Path | None = None) -> Iterator[Repository]:
    """Yield a repository; a clone is removed at the end.

    Args:
        source: a folder, or an address of git; see `git_address`.
        ref: branch, tag or commit; that of the address if empty, and the default branch if it has none.
        scratch: where a clone is made; the machine's own place if None, which may be in memory.

    Raises:
        HelioError: there is none, it holds what may not be in an image, or it lacks what it names.
    """
    if not git_address.is_address(source):
        folder = Path(source)
        if not folder.is_dir():
            raise HelioError(
                Stage.USAGE,
                f"`{source}` is not a repository",
                detail="expected a folder, or an address such as https://HOST/NAME.git",
            )
        if ref:
            raise HelioError(
                Stage.USAGE, f"`--ref {ref}` is of an address", detail=f"`{source}` is a folder: it is taken as it is"
            )
        folder = folder.resolve()
        files = walk(folder)
        _check_whole(folder, files, folder.name)
        commit, ignored = git.clean_commit(folder), git.ignored(folder)
        yield Repository(folder=folder, source=folder.name, commit=commit, files=files, ignored=ignored)
        return
    address = _address(source, ref)
    shown = git_address.public(address.url)
    with tempfile.TemporaryDirectory(prefix="helioimages-clone-", dir=scratch) as place:
        top = Path(place) / "repository"
        with stage(f"clone {shown}"):
            git.clone(address.url, address.ref, top)
        folder = (top / address.folder).resolve()
        if not folder.is_dir() or not folder.is_relative_to(top.resolve()):
            raise HelioError(Stage.SPEC, f"`{shown}` has no folder `{address.folder}`")
        files = walk(folder)
        _check_whole(folder, files, shown)
        # The last part names the image, as a folder's own name does.
        below = f"#subdirectory={address.folder}" if address.folder != "." else ""
        yield Repository(folder=folder, source=shown + below, commit=git.commit_of(top), files=files)


def _address(source: str, ref: str) -> git_address.GitAddress:
    # A folder of this machine may have any name.
    if source.startswith("file://") and Path(source.removeprefix("file://")).exists():
        return git_address.GitAddress(url=source, ref=ref)
    try:
        address = git_address.parse(source)
    except ValueError as error:
        raise HelioError(
            Stage.USAGE,
            f"`{git_address.public(source)}` {error}",
            detail="expected an address such as https://HOST/NAME.git@REF#subdirectory=FOLDER",
        ) from error
    if ref and address.ref and ref != address.ref:
        raise HelioError(
            Stage.USAGE, f"`--ref {ref}` contradicts `@{address.ref}`", detail=f"both are said of `{address.url}`"
        )
    return replace(address, ref=ref or address.ref)


def walk(folder: Path) -> tuple[Entry, ...]:
    """Return the entries of a folder: modes as git has them, without ``.git``.

    Raises:
        HelioError: a link leads out of it, something is no file, folder or link or has a name that is no text, or
            there is too much of it.
    """
    entries: list[Entry] = []
    size = 0
    for place, folders, files in os.walk(folder, onerror=_unreadable(folder)):
        folders[:] = sorted(name for name in folders if name != ".git")
        # In a submodule or a worktree `.git` is a file.
        for name in sorted({*folders, *files} - {".git"}):
            path = Path(place) / name
            relative = _checked_name(path.relative_to(folder).as_posix())
            status = path.lstat()
            file_size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            size += file_size
            _check_size(relative, file_size, len(entries) + 1, size)
            entries.append(_entry(folder, path, relative, status))
    return tuple(sorted(entries, key=lambda entry: entry.path.split("/")))


def _unreadable(folder: Path) -> Callable[[OSError], None]:
    """Return what refuses a folder that cannot be listed: its files would be missing, and nobody told."""

    def refuse(error: OSError) -> None:
        where = Path(error.filename).relative_to(folder).as_posix()
        raise HelioError(Stage.SPEC, f"cannot read `{where}`", where=where, detail=error.strerror or "") from error

    return refuse


def _entry(folder: Path, path: Path, relative: str, status: os.stat_result) -> Entry:
    if stat.S_ISLNK(status.st_mode):
        _check_link(folder, path, relative)
        return Entry(path=relative, kind=Kind.SYMLINK, mode=0o777, target=os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return Entry(path=relative, kind=Kind.DIR, mode=0o755)
    if not stat.S_ISREG(status.st_mode):
        raise HelioError(Stage.SPEC, f"`{relative}` is not a file, folder or link", where=relative, hint="remove it")
    mode = 0o755 if status.st_mode & 0o100 else 0o644
    try:
        sha256 = of_file(path).removeprefix("sha256:")
    except OSError as error:
        raise HelioError(
            Stage.SPEC, f"cannot read `{relative}`", where=relative, detail=error.strerror or ""
        ) from error
    return Entry(path=relative, kind=Kind.FILE, mode=mode, content=Content(status.st_size, path.read_bytes, sha256))


def _checked_name(relative: str) -> str:
    """Return a path of the repository if an image can have it.

    Raises:
        HelioError: it is not UTF-8, as names in an image's documents are, or layers keep it for themselves.
    """
    shown = ascii(relative)[1:-1]
    if not _is_text(relative):
        raise HelioError(
            Stage.SPEC, f"`{shown}` has a name that is not UTF-8", where=shown, hint="rename it, e.g. with `convmv`"
        )
    if relative.rpartition("/")[2].startswith(".wh."):
        raise HelioError(
            Stage.SPEC,
            f"`{shown}` has a name that takes a file away where it is in an image",
            where=shown,
            detail="expected a name that does not begin with .wh.",
            hint="rename it",
        )
    return check_path(relative, "repository")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_size(relative: str, file_size: int, number: int, size: int) -> None:
    if file_size > MOST_FILE_BYTES:
        message, most = f"`{relative}` is too large for an image", human_size(MOST_FILE_BYTES)
        expected = f"expected at most {most} not {human_size(file_size)}"
    elif number > MOST_FILES or size > MOST_BYTES:
        message = "the repository is too large for an image"
        expected = f"expected at most {MOST_FILES:,} files and {human_size(MOST_BYTES)}"
    else:
        return
    raise HelioError(
        Stage.SPEC,
        message,
        where=relative,
        detail=expected,
        hint="keep data in a bucket or an archive, and read them from there",
    )


def _check_link(folder: Path, path: Path, relative: str) -> None:
    """Refuse a link out of the repository: it would show the image's files, or this machine's while they are read."""
    target = os.readlink(path)
    where = os.path.normpath(os.path.join(os.path.dirname(relative), target))
    if not _is_text(target):
        detail = "expected a link whose target is UTF-8"
        raise HelioError(Stage.SPEC, f"`{relative}` leads to {target!a}", where=relative, detail=detail)
    if not os.path.isabs(target) and where.split("/")[0] != "..":
        # Through other links it may still lead out.
        real = path.resolve(strict=False) if not _loops(path) else folder
        if real == folder or folder in real.parents:
            return
    raise HelioError(
        Stage.SPEC,
        f"`{relative}` is a link out of the repository",
        where=relative,
        detail=f"expected a file of the repository, not {target}",
        hint="put the file itself there",
    )


def _loops(path: Path) -> bool:
    try:
        path.resolve(strict=False)
    except (OSError, RuntimeError):
        return True
    return False


def _check_whole(folder: Path, files: Sequence[Entry], shown: str) -> None:
    """Refuse a repository whose files are elsewhere: its image would lack them, and nobody would be told.

    Raises:
        HelioError: it has no files, pointers of git-lfs instead of files, or the folder of a submodule is empty.
    """
    if not files:
        raise HelioError(
            Stage.SPEC, f"`{shown}` has no files", detail="expected notebooks, and files that Binder reads"
        )
    pointers = [entry.path for entry in files if _is_pointer(entry)]
    if pointers:
        others = f"; the same of {count(len(pointers) - 1, 'other file')}" if len(pointers) > 1 else ""
        raise HelioError(
            Stage.SPEC,
            f"`{pointers[0]}` is a pointer of git-lfs, not the file itself",
            where=pointers[0],
            detail=f"expected its content{others}",
            hint="install git-lfs and run `git lfs install`; a folder then needs `git lfs pull`",
        )
    held = {entry.path.rpartition("/")[0] for entry in files}
    modules = folder / ".gitmodules"
    lines = modules.read_text(errors="replace").splitlines() if modules.is_file() else []
    for number, line in enumerate(lines, 1):
        path = match[1].strip('"') if (match := _SUBMODULE.fullmatch(line)) else ""
        if path in {entry.path for entry in files if entry.kind is Kind.DIR} - held:
            raise HelioError(
                Stage.SPEC,
                f"the submodule `{path}` is empty",
                where=f".gitmodules line {number}",
                detail="expected the files of its own repository",
                hint="`git submodule update --init --recursive` brings them",
            )


def _is_pointer(entry: Entry) -> bool:
    if entry.content is None or not len(_POINTER) < entry.content.size <= _MOST_POINTER_BYTES:
        return False
    return entry.content.read().startswith(_POINTER)
