"""Works without an engine: values as `publish-work` makes them, and what other programs say of their documents."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from helioimages.core import files
from helioimages.core.platform import FIRST
from helioimages.machine import bootstrap
from helioimages.machine.store import default_root
from helioimages.works import citation, documents
from helioimages.works.work import Work, WorkFile, WorkImage, WorkNotebook, WorkSettings

HERE = Path(__file__).parent / "works"
CITATION = """\
cff-version: 1.2.0
message: If you use this work, please cite it.
title: The Sun & its <wind>
type: software
abstract: What the wind does.
authors:
  - family-names: Parker
    given-names: Eugene
    orcid: https://orcid.org/0000-0002-1825-0097
    affiliation: University of Chicago
  - family-names: Alfvén
    given-names: Hannes
    name-particle: von
  - name: The Wind Team
keywords: [solar wind, magnetic field]
license: [BSD-3-Clause, CC-BY-4.0]
version: 1.0
date-released: 2026-11-21
repository-code: https://example.org/wind
"""
DIGEST = "sha256:" + "ab" * 32
CONTENTS = {
    "work/CITATION.cff": CITATION.encode(),
    "work/data/field 1.csv": b"b\n1.5\n",
    "work/a look.ipynb": b"{}",
    "work/b.ipynb": b"{}",
    "executed/a look.ipynb": b"{ }",
    "executed/b.ipynb": b"{ }",
    "figures/a look/cell-1-1.png": b"\x89PNG",
    "numbers/a look.json": b"{}",
    "made/out.nc": b"CDF",
    "made/plot.pdf": b"%PDF",
}


def work(said: str = CITATION, **changes: Any) -> Work:
    files = [
        WorkFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for path, data in CONTENTS.items()
    ]
    values: dict[str, Any] = {
        "citation": citation.parse(said),
        "image": WorkImage(
            registry="registry.example:5000",
            name="org/helio",
            tag="2026.11.19",
            digest=DIGEST,
            title="Helio",
            platform=FIRST,
            python="3.13.7",
            licenses=("BSD-3-Clause", "GPL-2.0-or-later WITH GCC-exception-2.0", "some text of its own"),
        ),
        "books": (
            WorkNotebook(
                path="work/a look.ipynb",
                title="A look at <B>",
                language="python",
                executed="executed/a look.ipynb",
                figures=("figures/a look/cell-1-1.png",),
                made=("made/out.nc", "made/plot.pdf"),
                numbers="numbers/a look.json",
            ),
            WorkNotebook(path="work/b.ipynb", title="B", language="python", executed="executed/b.ipynb"),
        ),
        "inputs": tuple(file for file in files if file.path.startswith("work/")),
        "results": tuple(file for file in files if not file.path.startswith("work/")),
        "settings": WorkSettings(
            authority="NASA", measurements=("MagneticField",), parameters={"year": "2024", "b": "x y"}
        ),
        "when": "2026-11-21T00:00:00Z",
    }
    return Work(**values | changes)


def changed(made: Work, **changes: Any) -> Work:
    return dataclasses.replace(made, **changes)


def write(made: Work, folder: Path) -> Path:
    """Write a crate."""
    for path, data in (CONTENTS | documents.of(made)).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def judged(*crates: Path) -> list[dict[str, list[str]]]:
    """Return what the validators of the documents' makers say of crates: per crate, validator -> faults.

    They are in an environment of their own: some want libraries older than those of the tests.
    """
    argv = [validators(), HERE / "judge.py", *crates]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    judgements: list[dict[str, list[str]]] = json.loads(done.stdout.splitlines()[-1])
    return judgements


def validators() -> Path:
    """Return their environment's interpreter. One of them (docopt) has no wheel, so `bootstrap` cannot make it."""
    lock = HERE / "requirements.lock"
    folder = default_root() / "tool" / bootstrap.name_of(lock)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.held(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            uv = Path(sys.executable).with_name("uv")
            subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, folder], check=True)
            argv = [uv, "pip", "install", "-q", "--python", folder, "--require-hashes", "-r", lock]
            subprocess.run(argv, check=True, timeout=300)
            (folder / "complete").touch()
    return folder / "bin" / "python"
