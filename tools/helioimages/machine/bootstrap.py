"""A tool environment from nothing but `python3`: the first thing that a fresh clone runs.

Standard library only. Makes a virtual environment from a hash-locked requirements file, in the store, named by the
lock's content; a second run finds it. On a Debian or Ubuntu without `python3-venv` it installs that package.

An old Python is told so: the grammar is that of Python 3.6, and what needs a newer one stands below the look at the
version.

What goes wrong is told as `helioimages.verbs.errors` tells it, with ``--json`` too; that may not be imported yet.
"""

import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

#: `core.errors.Stage.HOST`.
_HOST = 11


def _fail(message: str, detail: str = "", hint: str = "") -> None:
    """Tell of an error, for people or, where the command line asks for it, as JSON on one line, and exit."""
    import json

    words = sys.argv[1:]
    if "--json" in (words[: words.index("--")] if "--" in words else words):
        told = {"stage": "host", "code": _HOST, "message": message, "where": "", "detail": detail, "hint": hint}
        text = json.dumps({"error": told})
    else:
        text = "\n".join(["error: " + message] + ["  " + line for line in detail.splitlines()])
        text += "\n\nhint: " + hint if hint else ""
    print(text, file=sys.stderr)
    sys.exit(_HOST)


def _refuse() -> None:
    """Say what a Python that is too old says: its version, and which other one to take."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    newer = _newer()
    if not newer:
        hint = "install one; Debian 12, Ubuntu 24.04 and what came after them have it as `python3`"
    elif os.path.basename(sys.argv[0]) == "bootstrap.py":
        # A script asked for an environment; it takes what is called `python3`.
        hint = f"{newer} is here: make it `python3`, e.g. `{newer} -m venv new && . new/bin/activate`"
    else:
        hint = f"run `{' '.join(map(shlex.quote, (newer, *sys.argv)))}`"
    _fail(f"Python 3.11 or newer is needed, and this is {version} ({sys.executable})", hint=hint)


def _newer() -> str:
    """Return the newest Python on the PATH that is new enough and starts; of a version manager's, not all do."""
    for minor in range(30, 10, -1):
        name = "python3." + str(minor)
        program = shutil.which(name)
        if program is None:
            continue
        ask = [program, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.call(ask, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
                return name
        except OSError:
            continue
    return ""


if sys.version_info < (3, 11):  # noqa: UP036
    _refuse()

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "tools" / "requirements.lock"
#: Where Debian and Ubuntu, Red Hat and Fedora, SUSE, and Alpine keep what the system believes.
SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
#: Bytes that an environment of the tool needs, about.
_ROOM = 600 * 10**6
#: Lines of a failed program that are told.
_SAID = 20
_NEEDED = (
    "click",
    "rich",
    "requests",
    "docker",
    "rattler",
    "uv",
    "installer",
    "jinja2",
    "yaml",
    "zstandard",
    "deflate",
    "isal",
    "packageurl",
)


def ensure() -> None:
    """Make sure that this process can import the tool's dependencies, running itself again where it can't."""
    if all(importlib.util.find_spec(name) for name in _NEEDED):
        return
    if os.environ.get("HELIOIMAGES_BOOTSTRAPPED") or not LOCK.exists():
        _fail("the tool's dependencies are missing", hint="run `pip install .` in the checkout")
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # An interrupt is raised, so that what is started here is ended and waited for.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    python = environment(LOCK)
    # Until the other Python is there, which lets it through: it shows a traceback of an interrupt in its first moments.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ["HELIOIMAGES_BOOTSTRAPPED"] = "1"
    os.execv(python, [str(python), *sys.argv])


def environment(lock: Path) -> Path:
    """Return the interpreter of a virtual environment that holds what ``lock`` names, made if need be."""
    name = name_of(lock)
    folder = _store() / "tool" / name
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.parent / f"{name}.lock", "w") as stream:
            # Two first runs at once: one makes it, the other waits and finds it.
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not (folder / "complete").exists():
                _make(folder, lock)
    except OSError as error:
        hint = "check the space and rights of the store, or name another folder: HELIOIMAGES_STORE"
        _fail(f"cannot write {folder}", str(error), hint)
    return python


def name_of(lock: Path) -> str:
    """Return what the environment of a lock and of this Python is called in the store."""
    version = f"{sys.implementation.cache_tag}-{sys.version_info.micro}"
    return hashlib.sha256(lock.read_bytes() + version.encode() + sys.base_prefix.encode()).hexdigest()[:16]


def _make(folder: Path, lock: Path) -> None:
    python = folder / "bin" / "python"
    print(f"==> tool environment from {lock.relative_to(ROOT)} (once, about a minute)", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    if importlib.util.find_spec("ensurepip") is None:
        # Debian splits it off each of its Pythons; `python3-venv` is that of the one called `python3`.
        _apt(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    _run([sys.executable, "-m", "venv", str(folder)], "take a Python whose `python3 -m venv FOLDER` works")
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    hint = "pip asks the index of its own settings (`pip config list`, PIP_INDEX_URL); proxies: docs/network.md"
    _run([*pip, "--require-hashes", "--only-binary=:all:", "-r", str(lock)], hint, _believing(os.environ))
    (folder / "complete").touch()


def _believing(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables with which any pip believes a site's own authority; its `--cert` and `cert` are stronger."""
    authorities = environ.get("SSL_CERT_FILE") or next(filter(os.path.isfile, SYSTEM_CERTIFICATES), "")
    told = any(environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    return dict(environ) if told or not authorities else dict(environ, REQUESTS_CA_BUNDLE=authorities)


def _store() -> Path:
    # The same rule as store.default_root, which may not be imported here: it needs nothing, but its neighbours do.
    root = os.environ.get("HELIOIMAGES_STORE")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")) / "helioimages"


def _apt(package: str) -> None:
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    hint = f"as root: apt-get install {package}; elsewhere, what brings Python's `venv` and `ensurepip`"
    lacking = [program for program in (*sudo, "apt-get") if shutil.which(program) is None]
    if lacking:
        _fail("this Python lacks `venv`", f"it is installed by {lacking[0]}, which is not here", hint)
    _run([*sudo, "apt-get", "update", "-qq"], hint)
    _run([*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", package], hint)


def _run(argv: list[str], hint: str, environ: Mapping[str, str] | None = None) -> None:
    result = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ)
    if result.returncode:
        said = "\n".join(result.stdout.strip().splitlines()[-_SAID:])
        _fail(f"`{' '.join(argv[:4])} …` failed with {result.returncode}", said, _full() or hint)


def _full() -> str:
    """Return what may be why, where the store's disk is nearly full: pip and venv say less."""
    try:
        free = shutil.disk_usage(_store()).free
    except OSError:
        return ""
    if free >= _ROOM:
        return ""
    return f"the disk of the store has {free:,} bytes free; HELIOIMAGES_STORE names another folder"


if __name__ == "__main__":
    # tests/run asks for the interpreter of the test environment.
    print(environment(Path(sys.argv[1]).resolve()))
