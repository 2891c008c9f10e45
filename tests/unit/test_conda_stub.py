"""`conda` in images that have none: it explains, and what it says is right for sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

BIN = Path(__file__).parents[2] / "images" / "base" / "files" / "srv" / "conda" / "bin"


def say(*words: str, name: str = "conda") -> str:
    done = subprocess.run(["sh", str(BIN / name), *words], capture_output=True, text=True)
    # Scripts that go on without conda would do so in the wrong environment.
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "python -m venv --system-site-packages ~/envs/mine"),
        (("--version",), "python -m venv --system-site-packages ~/envs/mine"),
        (("create", "-n", "orbits", "python=3.12"), "-m ipykernel install --user --name orbits"),
        (("env", "create", "--name", "orbits", "-f", "x.yml"), "~/envs/orbits/bin/pip install"),
        (("install", "-y", "numpy"), "pip install --user PACKAGE"),
        (("activate", "orbits"), ". ~/envs/orbits/bin/activate"),
        (("activate",), ". ~/envs/mine/bin/activate"),
        (("list",), "pip list"),
    ],
)
def test_it_says_what_to_do(words: tuple[str, ...], expected: str) -> None:
    text = say(*words)
    assert text.startswith("conda: there is no conda in this image: its environment is locked and read-only.\n")
    assert expected in text


def test_mamba_is_the_same() -> None:
    assert say(name="mamba").startswith("mamba: there is no conda in this image")
    assert (BIN / "mamba").readlink() == Path("conda")
    assert (BIN / "conda").stat().st_mode & 0o111
