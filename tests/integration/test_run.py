"""`run` on the real base image: a notebook, a shell and a server in a folder of somebody, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import engine_lists
import pytest
from ports import free

TOOL = Path(__file__).parents[2] / "tools" / "buildimages.py"
COMMAND = [sys.executable, str(TOOL), "run", "--from"]
#: Nobody here; files of the folder are theirs, and the container's must be, too.
SOMEBODY = 43210
pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder of somebody, whom only root can make; else one of ours."""
    place = tmp_path / "work"
    (place / "sub").mkdir(parents=True)
    return place


def given(folder: Path, *lines: str) -> Path:
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": []}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    document = {"cells": [{**cell, "source": "\n".join(lines)}], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    path = folder / "sub" / "a.ipynb"
    path.write_text(json.dumps(document))
    if os.geteuid() == 0:
        for place in (folder, folder / "sub", path):
            os.chown(place, SOMEBODY, SOMEBODY)
    return path


def run(image: str, folder: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, image, *words], cwd=folder, input=text, capture_output=True, text=True, timeout=240
    )


def test_a_notebook_is_run_where_it_lies(image, folder):
    path = given(folder, "import os, pathlib", "pathlib.Path('figure.txt').write_text('x')", "print('ran', 6 * 7)")
    done = run(image, folder, "--notebook", "sub/a.ipynb")
    assert (done.returncode, done.stdout) == (0, "sub/a-executed.ipynb\n"), done.stderr
    executed = json.loads((folder / "sub/a-executed.ipynb").read_text())
    assert executed["cells"][0]["outputs"][0]["text"] == ["ran 42\n"]
    owner = path.stat().st_uid
    assert {file.stat().st_uid for file in (folder / "sub").iterdir()} == {owner}
    assert (folder / "sub/figure.txt").read_text() == "x"


def test_a_notebook_that_fails_leaves_its_copy(image, folder):
    given(folder, "print('before')", "1 / 0")
    done = run(image, folder, "--notebook", "sub/a.ipynb")
    assert done.returncode == 8
    assert "`sub/a.ipynb` failed" in done.stderr
    assert "ZeroDivisionError" in (folder / "sub/a-executed.ipynb").read_text()


def test_a_shell_has_the_folder_and_gives_its_status(image, folder):
    if not any(map(shutil.which, ("docker", "podman"))):
        pytest.skip("neither `docker` nor `podman` is installed")
    given(folder, "")
    done = run(image, folder, "--shell", text="pwd; touch made; ls sub; exit 7\n")
    assert (done.returncode, done.stdout) == (7, "/home/jovyan/work\na.ipynb\n"), done.stderr
    assert (folder / "made").stat().st_uid == folder.stat().st_uid


def test_ctrl_c_ends_a_notebook_within_seconds(image, folder, engine):
    given(folder, "print('begun', flush=True)", "import time; time.sleep(600)")
    process = subprocess.Popen(
        [*COMMAND, image, "--notebook", "sub/a.ipynb"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "begun" in line:
                break
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        assert process.wait(timeout=60) == 130
        assert time.monotonic() - begun < 30
        mine = [
            container
            for container in engine_lists.containers(engine.client)
            if f" {process.pid} " in str(container.labels)
        ]
        assert mine == []
    finally:
        process.kill()
        process.communicate()


def test_a_server_has_the_folder(image, folder, engine):
    given(folder, "")
    port = free()
    done = run(image, folder, "--port", str(port))
    assert done.returncode == 0, done.stderr
    try:
        stop = re.search(r"stop it: buildimages (run --stop --port \d+)\n", done.stderr)
        assert stop
        token = done.stdout.strip().rpartition("token=")[2]
        address = f"http://127.0.0.1:{port}/api/contents/sub?token={token}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert [file["name"] for file in json.load(answer)["content"]] == ["a.ipynb"]
        # What it says ends this one and no other, without docker's own client.
        path = {**os.environ, "PATH": str(folder)}
        words = [sys.executable, str(TOOL), *stop[1].split()]
        done = subprocess.run(words, env=path, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "1 stopped\n"), done.stderr
        assert engine_lists.containers(engine.client, publish=str(port)) == []
    finally:
        for left in engine_lists.containers(engine.client, publish=str(port)):
            left.remove(force=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shell", "--notebook", "sub/a.ipynb"], "`--shell` and `--notebook` go apart"),
        (["--no-mount", "--notebook", "sub/a.ipynb"], "is not in the folder that the image gets"),
        (["base"], "`run` starts one image"),
    ],
)
def test_words_that_contradict_each_other_are_refused_before_any_work(folder, words, message):
    given(folder, "")
    done = run("nothing", folder, *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_an_image_that_is_not_there(folder):
    done = run("no-such-image", folder, "--shell")
    assert done.returncode == 2
    assert "`no-such-image` is not in the registry" in done.stderr
