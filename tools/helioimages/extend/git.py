"""Git on an address of somebody else: it asks nobody, runs no program that a repository names, and ends in time.

Spec: git(1), "ENVIRONMENT VARIABLES"; git-clone(1); gitmodules(5).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..core.near import meant
from ..core.words import human_size
from .git_address import public

#: Seconds until a server has said what it has, and for what is fetched of it.
HELLO_S, CLONE_S = 60, 600
#: Bytes of one file that git may write: a pack, or a file that it checks out.
MOST_BYTES = 4_000_000_000
#: A transfer that stands still is ended.
_SETTINGS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"),
    *("-c", "http.lowSpeedLimit=1", "-c", f"http.lowSpeedTime={HELLO_S}"),
)
#: Nobody is asked, not by a window either.
_ENV = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
    "LC_ALL": "C",
}
#: Of a git that calls us, as in a hook.
_CALLERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
#: No address that runs a program.
_PROTOCOLS = "https:http:ssh"
_COMMIT = re.compile(r"[0-9a-f]{4,40}")
_LOGIN = ("Authentication failed", "could not read Username", "Permission denied (", "Host key verification failed")
#: Lines that say nothing of what is wrong.
_NOISE = ("Cloning into", "Please make sure you have the correct access", "and the repository exists")
_PAGE = re.compile(r"(?P<url>.+?)/(?:-/)?(?:tree|blob|src/branch)/(?P<ref>[^/]+).*")


class _Failed(Exception):
    """Git ended with an error; the text is what it said, its last lines."""


def clone(url: str, ref: str, folder: Path, *, where: str = "") -> None:
    """Clone a git repository, and check out a commit of it, with its submodules.

    Args:
        ref: branch, tag or commit; the default branch if empty.
        where: whoever names the repository.

    Raises:
        HelioError: it cannot be reached, has no such commit, or is too large.
    """
    refs = _refs(url, where)
    name = ref.removeprefix("origin/")
    if ref and name not in refs and ref not in refs and not _COMMIT.fullmatch(ref):
        raise _unknown(url, ref, refs, where)
    if not refs:
        raise HelioError(Stage.FETCH, f"`{public(url)}` is empty", where=where, detail="expected a commit")
    try:
        _git(["clone", "--quiet", "--no-checkout", "--", url, str(folder)], allowed=_protocols(url), seconds=CLONE_S)
    except _Failed as error:
        raise _unreached(url, str(error), where) from error
    commit = _commit_of_ref(url, ref, folder)
    if not commit:
        raise _unknown(url, ref or "HEAD", refs, where)
    try:
        # `checkout` ends well where a file could not be written.
        _git(["reset", "--quiet", "--hard", commit], folder, allowed=_protocols(url), seconds=CLONE_S)
    except _Failed as error:
        raise HelioError(
            Stage.FETCH,
            f"cannot check out `{public(url)}`",
            where=where,
            detail=_clean(str(error), url, folder),
            hint=_too_large(str(error)) or "try `git clone` by hand: it says more",
        ) from error
    _fetch_submodules(url, folder, where)


def commit_of(folder: Path) -> str:
    """Return the commit that a clone is at."""
    return _git(["rev-parse", "HEAD"], folder)


def clean_commit(folder: Path) -> str:
    """Return the commit of a folder that is the top of a git repository and has nothing else in it; else nothing."""
    return "" if _listed(folder, "status", "--porcelain", "--ignored") else _listed(folder, "rev-parse", "HEAD")


def ignored(folder: Path) -> tuple[str, ...]:
    """Return the files and folders below the top of a git repository that git ignores; none where there is no git."""
    listed = _listed(folder, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    return tuple(filter(None, listed.split("\0")))


def _listed(folder: Path, *words: str) -> str:
    """Return what git says of a folder that is the top of a repository; nothing where it cannot."""
    if not (folder / ".git").exists() or shutil.which("git") is None:
        return ""
    try:
        return _git([*words], folder)
    except _Failed:
        return ""


def _refs(url: str, where: str) -> frozenset[str]:
    """Return the branches and tags of a repository: a small question, so what cannot be reached is told soon."""
    try:
        listed = _git(["ls-remote", "--quiet", "--", url], allowed=_protocols(url), seconds=HELLO_S)
    except _Failed as error:
        raise _unreached(url, str(error), where) from error
    names = (line.partition("\t")[2] for line in listed.splitlines())
    return frozenset(re.sub(r"^refs/(?:heads|tags)/", "", name).removesuffix("^{}") for name in names)


def _commit_of_ref(url: str, ref: str, folder: Path) -> str:
    """Return the commit that is meant in a clone; empty if it has none."""
    asked = [ref, f"origin/{ref}"] if ref else ["HEAD"]
    for name in asked:
        with contextlib.suppress(_Failed):
            return _git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"], folder)
    if len(ref) == 40 or ref.startswith("refs/"):
        # Of no branch any more: many servers still have it.
        with contextlib.suppress(_Failed):
            _git(["fetch", "--quiet", "origin", ref], folder, allowed=_protocols(url), seconds=CLONE_S)
            return _git(["rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}"], folder)
    return ""


def _fetch_submodules(url: str, folder: Path, where: str) -> None:
    """Fetch what other repositories bring, as pip and Binder do."""
    if not (folder / ".gitmodules").is_file():
        return
    try:
        _git(
            ["submodule", "--quiet", "update", "--init", "--recursive"],
            folder,
            allowed=_protocols(url),
            seconds=CLONE_S,
        )
    except _Failed as error:
        raise HelioError(
            Stage.FETCH,
            f"cannot fetch a submodule of `{public(url)}`",
            where=where or ".gitmodules",
            detail=_clean(str(error), url, folder),
            hint=_too_large(str(error)) or "check its address in .gitmodules: nobody is asked for a login here",
        ) from error


def _protocols(url: str) -> str:
    # A repository that came over the network may not name folders of this machine as its submodules.
    return f"{_PROTOCOLS}:file" if url.startswith("file:") else _PROTOCOLS


def _unknown(url: str, ref: str, refs: frozenset[str], where: str) -> HelioError:
    return HelioError(
        Stage.FETCH,
        f"`{public(url)}` has no `{ref}`",
        where=where,
        detail="expected a branch, a tag or a whole commit",
        hint=meant(ref, refs),
    )


def _unreached(url: str, said: str, where: str) -> HelioError:
    if page := _PAGE.fullmatch(public(url)):
        hint = f"this is the address of a page: write {page['url']}@{page['ref']}"
    elif any(words in said for words in _LOGIN):
        hint = "there is none of that name, or it asks for a login: nobody is asked here; git's settings can have one"
    else:
        hint = _too_large(said) or "check the address, and that this machine has a way there"
    detail = _clean(said, url, None)
    return HelioError(Stage.FETCH, f"cannot clone `{public(url)}`", where=where, detail=detail, hint=hint)


def _too_large(said: str) -> str:
    """Return what to do where git could not write a file; empty if it could."""
    if "File too large" not in said and "unable to write file" not in said:
        return ""
    return (
        f"a file has more than {human_size(MOST_BYTES)}, or the disk is full: keep data in a bucket or an archive, and "
        "read them from there"
    )


def _clean(said: str, url: str, folder: Path | None) -> str:
    """Return what git said without a login, nor a path of this machine."""
    said = said.replace(url, public(url))
    return said.replace(f"{folder}/", "").replace(str(folder), "the repository") if folder else said


def _git(arguments: list[str], folder: Path | None = None, *, allowed: str = "", seconds: float = HELLO_S) -> str:
    """Run git and return what it says.

    Args:
        allowed: protocols that it may speak, with colons between them.

    Raises:
        _Failed: it failed, or did not end; then nothing of it runs any more.
    """
    if (program := shutil.which("git")) is None:
        raise HelioError(Stage.HOST, "`git` is not here", hint="install git")
    argv = [program, *(["-C", str(folder)] if folder else []), *_SETTINGS, *arguments]
    process = subprocess.Popen(
        # Beyond the limit it gets an error, which it tells, and no signal.
        ["sh", "-c", 'trap "" XFSZ; ulimit -f "$0" 2>/dev/null; exec "$@"', str(MOST_BYTES // 512), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=_environment(allowed),
        # Without a terminal: ssh would ask there.
        start_new_session=True,
    )
    with process:
        try:
            output, said = process.communicate(timeout=seconds)
        except BaseException as error:
            # What it started has the connection, and the pipes.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise _Failed(f"git had no answer within {seconds:g} s") from error
            raise
    if process.returncode:
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith(_NOISE)]
        raise _Failed("\n".join(lines[-3:]) or f"git ended with exit status {process.returncode}")
    return output.strip()


def _environment(allowed: str) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _CALLERS}
    return inherited | _ENV | {"GIT_ALLOW_PROTOCOL": allowed}
