"""Git servers on loopback: git's own, one that asks for a login, and one that never answers; repositories for them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_GIT = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    """Run git in a folder and return what it says."""
    return subprocess.run([*_GIT, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path, files: Mapping[str, str]) -> Path:
    """Make a repository with one commit on its branch main, and return its folder."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    commit_all(folder, files)
    return folder


def commit_all(folder: Path, files: Mapping[str, str]) -> str:
    """Write files, commit all that there is, and return the commit."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
    return git(folder, "rev-parse", "HEAD")


class _GitHandler(BaseHTTPRequestHandler):
    """Git's own HTTP server, `git http-backend`, called as CGI (RFC 3875) asks."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        ended = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=True,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.server.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        head, _, data = ended.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((value for name, value in fields if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _PlainHandler(SimpleHTTPRequestHandler):
    """Files alone, the old way: `git update-server-info` says what there is."""

    def __init__(self, *said: object) -> None:
        super().__init__(*said, directory=str(said[2].folder))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _LoginHandler(BaseHTTPRequestHandler):
    """Lets nobody in."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="notebooks"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


_HANDLERS = {"git": _GitHandler, "plain": _PlainHandler, "login": _LoginHandler}


@contextlib.contextmanager
def git_server(folder: Path, kind: str = "git") -> Iterator[str]:
    """Serve the repositories of a folder over HTTP on loopback and yield the address.

    Args:
        kind: ``git``, ``plain`` or ``login``.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _HANDLERS[kind])
    server.folder = folder
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Yield the address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def commit(repository: Path, name: str, text: str) -> None:
    """Commit a file to a bare repository's branch main."""
    work = repository.with_suffix(".work")
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]

    def call(*argv: str) -> None:
        subprocess.run([*git, *argv], check=True, capture_output=True)

    if not repository.exists():
        call("init", "--bare", str(repository))
        call("clone", str(repository), str(work))
        call("-C", str(work), "checkout", "-B", "main")
    (work / name).write_text(text)
    call("-C", str(work), "add", name)
    call("-C", str(work), "commit", "-m", name)
    call("-C", str(work), "push", "origin", "main")
