"""The repository: a folder here or a clone of a git address, walked once, what may not be in an image refused."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ..core.digest import key_of
from ..core.entries import Content, Entry, Kind, check_path
from ..core.errors import HelioError, Stage
from ..core.files import of_file
from ..core.words import human_size

#: Files and bytes of a repository: beyond that it is data, which belongs beside an image.
MOST_FILES, MOST_BYTES = 50_000, 2 << 30
_CLONE_S = 600
#: git asks nobody, and follows no address that runs a program.
_GIT = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "GIT_ALLOW_PROTOCOL": "https:http:ssh:file", "LC_ALL": "C"}
#: How a text of UTF-16 begins.
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ADDRESS = re.compile(r"(?:https?|ssh|file)://.+|git@[\w.-]+:.+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository on this machine.

    Attributes:
        folder: where it lies.
        source: what was named: the address, or the folder's own name.
        commit: of git, empty where there is none or files differ from it.
        files: of its top, sorted by path: relative, without ``.git``.
    """

    folder: Path
    source: str
    commit: str
    files: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """A name for the image: the repository's own, as registries have it."""
        last = PurePosixPath(urlsplit(self.source).path if "://" in self.source else self.source.replace(":", "/")).name
        return re.sub(r"[^a-z0-9]+", "-", last.removesuffix(".git").lower()).strip("-") or "repository"

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
def opened(source: str, ref: str = "") -> Iterator[Repository]:
    """Yield a repository; a clone is removed at the end.

    Args:
        source: a folder, or an address of git.
        ref: branch, tag or commit; the default branch if empty.

    Raises:
        HelioError: there is none, or it holds what may not be in an image.
    """
    if not is_address(source):
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
        yield Repository(folder=folder, source=folder.name, commit=_commit(folder), files=walk(folder))
        return
    with tempfile.TemporaryDirectory(prefix="helioimages-clone-") as scratch:
        folder = Path(scratch) / "repository"
        clone(source, ref, folder)
        yield Repository(folder=folder, source=_public(source), commit=_commit(folder), files=walk(folder))


def is_address(text: str) -> bool:
    """Say whether a word is an address of git rather than a folder."""
    return _ADDRESS.fullmatch(text) is not None


def clone(address: str, ref: str, folder: Path, *, where: str = "") -> None:
    """Clone a git repository, and check out a commit of it.

    Raises:
        HelioError: it cannot be reached, or has no such commit.
    """
    try:
        _git(["clone", "--quiet", "--no-tags" if not ref else "--tags", "--", address, str(folder)])
    except subprocess.SubprocessError as error:
        raise HelioError(
            Stage.FETCH,
            f"cannot clone `{_public(address)}`",
            where=where,
            detail=_said(error).replace(address, _public(address)),
            hint="check the address; git's own settings say how to log in",
        ) from error
    if not ref:
        return
    try:
        commit = _git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"], folder, tries=ref)
        _git(["checkout", "--quiet", "--detach", commit], folder)
    except subprocess.SubprocessError as error:
        raise HelioError(
            Stage.FETCH,
            f"`{_public(address)}` has no `{ref}`",
            where=where,
            detail="expected a branch, a tag or a whole commit",
        ) from error


def commit_of(folder: Path) -> str:
    """Return the commit that a clone is at."""
    return _git(["rev-parse", "HEAD"], folder)


def walk(folder: Path) -> tuple[Entry, ...]:
    """Return the entries of a folder: modes as git has them, without ``.git``.

    Raises:
        HelioError: a link leads out of it, something is no file, folder or link, or there is too much of it.
    """
    entries: list[Entry] = []
    size = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != ".git")
        # In a submodule or a worktree `.git` is a file.
        for name in sorted({*folders, *files} - {".git"}):
            path = Path(place) / name
            relative = check_path(path.relative_to(folder).as_posix(), "repository")
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                _check_link(folder, path, relative)
                entries.append(Entry(path=relative, kind=Kind.SYMLINK, mode=0o777, target=os.readlink(path)))
            elif stat.S_ISDIR(status.st_mode):
                entries.append(Entry(path=relative, kind=Kind.DIR, mode=0o755))
            elif stat.S_ISREG(status.st_mode):
                size += status.st_size
                mode = 0o755 if status.st_mode & 0o100 else 0o644
                content = Content(status.st_size, path.read_bytes, of_file(path).removeprefix("sha256:"))
                entries.append(Entry(path=relative, kind=Kind.FILE, mode=mode, content=content))
            else:
                raise HelioError(
                    Stage.SPEC, f"`{relative}` is not a file, folder or link", where=relative, hint="remove it"
                )
            if len(entries) > MOST_FILES or size > MOST_BYTES:
                raise HelioError(
                    Stage.SPEC,
                    "the repository is too large for an image",
                    where=relative,
                    detail=f"expected at most {MOST_FILES:,} files and {human_size(MOST_BYTES)}",
                    hint="keep data in a bucket or an archive, and read them from there",
                )
    return tuple(sorted(entries, key=lambda entry: entry.path.split("/")))


def _check_link(folder: Path, path: Path, relative: str) -> None:
    """Refuse a link out of the repository: it would show the image's files, or this machine's while they are read."""
    target = os.readlink(path)
    where = os.path.normpath(os.path.join(os.path.dirname(relative), target))
    if not os.path.isabs(target) and not where.startswith(".."):
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


def _commit(folder: Path) -> str:
    """Return the commit of a folder that is the top of a git repository and has nothing else in it."""
    if not (folder / ".git").exists():
        return ""
    try:
        return "" if _git(["status", "--porcelain"], folder) else commit_of(folder)
    except subprocess.SubprocessError:
        return ""


def _git(arguments: list[str], folder: Path | None = None, *, tries: str = "") -> str:
    """Run git and return what it says.

    Args:
        tries: a ref that may also be a branch of the remote.

    Raises:
        SubprocessError: it failed, or did not end.
    """
    argv = ["git", *(["-C", str(folder)] if folder else []), "-c", "core.hooksPath=/dev/null"]
    try:
        done = subprocess.run(
            [*argv, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=_CLONE_S,
            env=os.environ | _GIT,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.CalledProcessError:
        if not tries or tries.startswith("origin/"):
            raise
        return _git([*arguments[:-1], f"origin/{arguments[-1]}"], folder)
    except OSError as error:
        raise HelioError(Stage.HOST, "`git` is not here", detail=str(error), hint="install git") from error
    return done.stdout.strip()


def _said(error: subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stderr).splitlines() if line.strip() and "Cloning into" not in line]
        return "\n".join(lines[-3:])
    return f"git did not end within {_CLONE_S} s"


def _public(address: str) -> str:
    """Return an address without a login in it: images and errors are read by others."""
    split = urlsplit(address)
    if split.scheme not in ("http", "https") or "@" not in split.netloc:
        return address
    return split._replace(netloc=split.netloc.rpartition("@")[2]).geturl()
