"""What people do with pip, uv and conda in the real base image: it works in their home, or the page says what does."""

from __future__ import annotations

from pathlib import Path

import pytest
from pypi_support import wheel_bytes
from uv import find_uv_bin

from helioimages.engines.engine import RunOptions

pytestmark = [pytest.mark.engine, pytest.mark.network]

#: uv's program is one file; its wheel is where this tool's own comes from.
UV = find_uv_bin()
NOTEBOOK = (
    '{"cells":[{"cell_type":"code","id":"a","metadata":{},"execution_count":null,"outputs":[],'
    '"source":"import kepler, xarray, sys; print(sys.prefix)"}],'
    '"metadata":{"kernelspec":{"name":"orbits","display_name":"P"}},"nbformat":4,"nbformat_minor":5}'
)


@pytest.fixture
def run(workspace, image, tmp_path):
    """Return a function that runs a script in the image, which has an index of two packages in a folder."""
    tmp_path.chmod(0o755)
    for name, requires in (("kepler", ()), ("orbits", ("kepler", "numpy"))):
        data = wheel_bytes({f"{name}/__init__.py": b"X = 1\n"}, name=name, requires=requires)
        (tmp_path / f"{name}-1.0-py3-none-any.whl").write_bytes(data)
    (tmp_path / "a.ipynb").write_text(NOTEBOOK)
    variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/index", "UV_OFFLINE": "1", "UV_FIND_LINKS": "/index"}

    def run(script: str, code: int = 0) -> str:
        mounts = {"/index": (Path(tmp_path), "ro"), "/usr/local/bin/uv": (Path(UV), "ro")}
        options = RunOptions(mounts=mounts, env=variables)
        # One stream: the engine may tell what comes on two in another order.
        done = workspace.engine.run(image, ["bash", "-c", f"exec 2>&1\n{script}"], options)
        assert done.exit_code == code, done.log
        return done.log

    return run


@pytest.mark.parametrize("words", ["install --user", "install"])
def test_pip_puts_packages_into_the_home(run, words):
    log = run(f"pip {words} --quiet orbits && cd / && python -c 'import orbits, kepler; print(kepler.__file__)'")
    assert log.splitlines()[-1] == "/home/jovyan/.local/lib/python3.13/site-packages/kepler/__init__.py"


def test_an_environment_of_ones_own_is_a_kernel_beside_the_images_packages(run):
    log = run(
        "python -m venv --system-site-packages ~/envs/orbits && ~/envs/orbits/bin/pip install --quiet orbits && "
        "~/envs/orbits/bin/python -m ipykernel install --user --name orbits && "
        "python -m papermill --no-progress-bar /index/a.ipynb b.ipynb && "
        'python -c \'import json; print(json.load(open("b.ipynb"))["cells"][0]["outputs"][0]["text"])\' && '
        "ls ~/envs/orbits/lib/python3.13/site-packages | grep -c numpy || true"
    )
    # numpy is the image's own: there is no second one.
    assert log.splitlines()[-2:] == ["['/home/jovyan/envs/orbits\\n']", "0"]


def test_uv_puts_packages_into_an_environment_of_ones_own_which_is_a_kernel(run):
    log = run(
        "uv venv --quiet --system-site-packages ~/envs/orbits && "
        "uv pip install --quiet --no-index --no-deps --python ~/envs/orbits orbits kepler && "
        "~/envs/orbits/bin/python -m ipykernel install --user --name orbits && "
        "python -m papermill --no-progress-bar /index/a.ipynb b.ipynb && "
        'python -c \'import json; print(json.load(open("b.ipynb"))["cells"][0]["outputs"][0]["text"])\''
    )
    assert log.splitlines()[-1] == "['/home/jovyan/envs/orbits\\n']"


@pytest.mark.parametrize("words", ["", "--system"])
def test_uv_does_not_write_to_the_image_and_says_so(run, words):
    log = run(f"uv pip install --no-index {words} kepler; test $? -ne 0 && python -c 'import kepler' 2>&1 | tail -1")
    assert "Permission denied" in log
    assert log.splitlines()[-1] == "ModuleNotFoundError: No module named 'kepler'"


@pytest.mark.parametrize("program", ["conda", "mamba"])
def test_conda_says_what_to_do_instead(run, program):
    assert "python -m venv --system-site-packages" in run(f"{program} install x; test $? -ne 0")
