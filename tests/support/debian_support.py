"""A signed Debian archive on loopback: of packages that tests make, or of those that the locks name."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helioimages.debian.lock import AptLock
from helioimages.machine.store import Store

DATE = "Sat, 15 Nov 2025 08:00:00 UTC"
EPOCH = 1_763_193_600


def needs(*programs: str) -> None:
    """Skip the test that asks where a program is not installed."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"`{program}` is not installed")


def _end_agent(home: Path) -> None:
    """End the agent that gpg started for a folder, which would stay for good, and remove the folder."""
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)
    shutil.rmtree(home, ignore_errors=True)


class Archive:
    """A signed Debian archive in a folder: suites trixie, trixie-updates and trixie-security."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "www"
        folder.mkdir(exist_ok=True)
        # Its agent's socket has room for 107 bytes, which a test's own folder may take.
        self.home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
        weakref.finalize(self, _end_agent, self.home)
        self.keyring = folder / "keyring.gpg"
        self.architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
        self._gpg("--passphrase", "", "--quick-generate-key", "Test archive <test@localhost>", "ed25519", "sign", "0")
        self._gpg("--output", str(self.keyring), "--export")
        self._scratch = folder / "scratch"
        self.url = ""
        #: What the server was asked, e.g. ``GET /debian/dists/trixie/InRelease``.
        self.asked: list[str] = []
        #: Files in the pool that the index does not list.
        self.unlisted: set[Path] = set()

    def _gpg(self, *arguments: str) -> None:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--pinentry-mode", "loopback", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def add(self, name: str, version: str = "1.0", *, archive: str = "debian", **fields: str) -> Path:
        """Put a package into a pool and return its file."""
        tree_ = self._scratch / f"{name}_{version}"
        (tree_ / "DEBIAN").mkdir(parents=True)
        control = {
            "Package": name,
            "Version": version,
            "Architecture": self.architecture,
            "Maintainer": "Test <test@localhost>",
            "Description": "test",
        } | {key.replace("_", "-"): value for key, value in fields.items()}
        (tree_ / "DEBIAN" / "control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
        final = self.folder / archive / "pool" / "main" / name[0] / name / f"{name}_{version}_{self.architecture}.deb"
        final.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree_, final], check=True, capture_output=True)
        return final

    def adopt(self, lock: AptLock, store: Store) -> None:
        """Put the packages of a lock into the pools, where the store has them."""
        for deb in lock.packages:
            final = self.folder / deb.archive / deb.file_name
            if store.artefact(deb.sha256).exists() and not final.is_symlink():
                final.parent.mkdir(parents=True, exist_ok=True)
                final.symlink_to(store.artefact(deb.sha256))

    def publish(self, *, signed: bool = True) -> None:
        """Index and sign what the pools hold now."""
        for archive, suites in (("debian", ("trixie", "trixie-updates")), ("debian-security", ("trixie-security",))):
            base = self.folder / archive
            with ThreadPoolExecutor(4) as pool:
                paths = sorted(path for path in base.glob("pool/**/*.deb") if path not in self.unlisted)
                stanzas = list(pool.map(functools.partial(self._stanza, base), paths))
            for suite in suites:
                folder = base / "dists" / suite
                index = folder / "main" / f"binary-{self.architecture}" / "Packages"
                index.parent.mkdir(parents=True, exist_ok=True)
                index.write_text("" if suite.endswith("-updates") else "\n".join(stanzas))
                data = index.read_bytes()
                row = f" {hashlib.sha256(data).hexdigest()} {len(data)} {index.relative_to(folder)}"
                (folder / "Release").write_text(
                    f"Origin: Debian\nLabel: Debian\nSuite: {suite}\nCodename: {suite}\nDate: {DATE}\n"
                    f"Architectures: {self.architecture}\nComponents: main\nSHA256:\n{row}\n"
                )
                (folder / "InRelease").unlink(missing_ok=True)
        if signed:
            self.sign()

    def sign(self) -> None:
        """Sign the Release files as they are."""
        for release in sorted(self.folder.glob("debian*/dists/*/Release")):
            signed = release.with_name("InRelease")
            self._gpg("--clearsign", "--output", str(signed), str(release))

    def move(self, *names: str, keep: bool = False, version: str = "1.1", **fields: str) -> None:
        """Replace packages by newer ones, as a point release does, and publish.

        Args:
            keep: the old files stay in the pool, though the index forgets them.
        """
        for name in names:
            for old in sorted(self.folder.glob(f"debian*/pool/**/{name}_*.deb")):
                self.unlisted.add(old) if keep else old.unlink()
            self.add(name, version, **fields)
        self.publish()

    def _stanza(self, base: Path, path: Path) -> str:
        control = subprocess.check_output(["dpkg-deb", "--field", path], text=True)
        # The store names a file by its digest.
        digest = path.readlink().name if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        name = path.relative_to(base)
        return f"{control}Filename: {name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n"

    @contextlib.contextmanager
    def serving(self) -> Iterator[Mapping[str, str]]:
        """Serve the folder while the block runs, and give the variables that make the tool use it."""
        handler = functools.partial(_Quiet, directory=str(self.folder), asked=self.asked)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield {
                "HELIOIMAGES_DEBIAN_MIRROR": f"{self.url}/debian",
                "HELIOIMAGES_DEBIAN_KEYRING": str(self.keyring),
            }
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object, asked: list[str], **options: object) -> None:
        self.asked = asked
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        self.asked.append(f"GET {self.path}")
        super().do_GET()

    def do_HEAD(self) -> None:
        self.asked.append(f"HEAD {self.path}")
        super().do_HEAD()

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def configured(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """Serve an archive, and name it as this machine's mirror, while the block runs."""
    with archive.serving() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("HELIOIMAGES_DEBIAN_SNAPSHOT", raising=False)
        yield archive
