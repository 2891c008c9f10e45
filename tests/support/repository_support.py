"""A Binder-ready repository with a package of its own, on the real base image: for tests of both ways to build it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pypi_support import IndexServer, wheel_bytes
from workspace import Workspace

from helioimages.make.building import Built
from helioimages.publish import attach, documents, release

BACKEND = '''\
"""A build backend that needs nothing but Python."""
import base64, hashlib, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "ours-0.3-py3-none-any.whl"
    files = {
        "ours.py": "ANSWER = 42\\n",
        "ours-0.3.dist-info/METADATA": "Metadata-Version: 2.1\\nName: ours\\nVersion: 0.3\\nRequires-Dist: kepler\\n",
        "ours-0.3.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    rows = ""
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            rows += f"{path},sha256={digest},{len(text)}\\n"
            wheel.writestr(path, text)
        wheel.writestr("ours-0.3.dist-info/RECORD", rows + "ours-0.3.dist-info/RECORD,,\\n")
    return name
'''
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "ours"
version = "0.3"
"""


def written(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files into a folder, and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def add_packages(index: IndexServer) -> None:
    """Offer `kepler`, and `orbits`, which needs it and what the image has."""
    for name, requires in (("kepler", ()), ("orbits", ("kepler", "numpy>=2"))):
        data = wheel_bytes({f"{name}/__init__.py": b"X = 1\n"}, name=name, requires=requires)
        index.add(f"{name}-1.0-py3-none-any.whl", data)


@contextlib.contextmanager
def published_base(
    workspace: Workspace, built: Built, prefix: str, report: Path, names: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Yield the registry's host and base in it, as `publish` leaves it below a prefix.

    Args:
        report: an empty folder.
        names: of what tests push below the prefix; it goes with base, for the registry is everybody's.
    """
    store, base = workspace.store, f"{prefix}base"
    with release.connect(store, None) as client:
        reference = workspace.push(client, built, prefix).reference
        documents.attach(client, base, built, report, store)
        subject = attach.Subject(
            client=client, repository=base, built=built, root=workspace.root, store=store, others=()
        )
        attach.attach(subject, key=None)
        host = client.host
    yield host, reference
    with release.connect(store, None) as client:
        for name in (*names, "base"):
            for tag in client.tags(f"{prefix}{name}"):
                if manifest := client.head_manifest(f"{prefix}{name}", tag):
                    client.delete_manifest(f"{prefix}{name}", manifest.digest)
