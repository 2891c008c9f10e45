"""/srv/start and login shells of the real base image: who runs, where it can write, and what conda packages set."""

from __future__ import annotations

import json

import pytest
from as_root import as_root

from helioimages.engines.engine import RunOptions

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]

#: Start a server as hubs do and wait until it says where it is; else show its log.
SERVER = """
log="${TMPDIR:-/tmp}/server.log"
jupyter lab --no-browser --port=0 >"${log}" 2>&1 &
for _ in $(seq 600); do
  if grep -qs 'is running at' "${log}"; then
    grep -E 'Traceback|PermissionError' "${log}" && exit 3
    echo served; exit
  fi
  kill -0 $! 2>/dev/null || break
  sleep 0.1
done
cat "${log}"; exit 4
"""


@pytest.fixture
def start(workspace, image):
    """Return a function that runs a script below /srv/start and returns what it and the start said."""

    def start(script: str, **options) -> str:
        result = workspace.engine.run(image, ["bash", "-c", script], RunOptions(**options))
        assert result.exit_code == 0, result.log
        assert "Traceback" not in result.log
        return result.log

    return start


def said(log: str) -> list[str]:
    return [line for line in log.splitlines() if line.startswith("start: ")]


def others(log: str) -> list[str]:
    """Return what the script says: the start speaks on another stream, and the engine may tell either first."""
    return [line for line in log.splitlines() if not line.startswith("start: ")]


def test_an_ordinary_start_says_nothing(start):
    assert start("echo x") == "x\n"


@pytest.mark.parametrize("user", ["1000:100", "123456:0"])
def test_a_group_that_may_write_the_home_starts_without_a_word(start, user):
    log = start(f'echo "$HOME $PWD"\n{SERVER}', user=user)
    assert log.splitlines() == ["/home/jovyan /home/jovyan", "served"]


def test_an_account_outside_of_group_0_gets_a_home_that_goes(start):
    log = start(f'echo "$HOME $PWD $PATH"\n{SERVER}', user="123456:123456")
    (line,) = said(log)
    assert line.startswith(
        "start: the home /home/jovyan cannot be written by uid 123456, gid 123456 (it belongs to 1000"
    )
    assert "--user 123456:0" in line
    words, served = others(log)
    home, folder, path = words.split()
    assert home == folder != "/home/jovyan"
    assert f":{home}/.local/bin:" in path and "/home/jovyan" not in path
    assert served == "served"


def test_a_home_of_somebody_else(start, tmp_path):
    tmp_path.chmod(0o755)
    # Whoever runs the tests may have the uid of the image's user.
    as_root("chown", "0:0", str(tmp_path))
    log = start(SERVER, mounts={"/home/jovyan": (tmp_path, "rw")})
    assert len(said(log)) == 1 and "it belongs to 0:0, mode 755" in log and log.endswith("served\n")


@pytest.mark.parametrize(("mode", "lines"), [("rw", 1), ("ro", 0)])
def test_a_mounted_folder_that_cannot_be_written(start, tmp_path, mode, lines):
    """Who mounts a folder read-only knows it."""
    folder = tmp_path / "my data"
    folder.mkdir(mode=0o755)
    as_root("chown", "0:0", str(folder))
    told = said(start("true", mounts={"/home/jovyan/my data": (folder, mode)}))
    assert len(told) == lines
    assert all("the mounted /home/jovyan/my data cannot be written by uid 1000, gid 1000" in line for line in told)


def test_a_volume_below_local_leaves_local_to_root(start, tmp_path):
    log = start(SERVER, mounts={"/home/jovyan/.local/share/mine": (tmp_path, "ro")})
    (line,) = said(log)
    assert line.startswith("start: /home/jovyan/.local cannot be written") and log.endswith("served\n")


def test_a_read_only_root(start):
    log = start(f'echo "$HOME $TMPDIR"\n{SERVER}', read_only=True)
    first, second = said(log)
    assert first.startswith("start: /tmp cannot be written") and "--tmpfs /tmp" in first
    assert "its file system is read-only" in second
    assert others(log)[0].split()[0].startswith("/dev/shm/")
    assert log.endswith("served\n")


def test_as_apptainer_starts_it(workspace, image, tmp_path):
    """No entry point, the caller's uid and home, a read-only root, no variable but the image's own.

    Spec: Apptainer, "Docker and OCI containers"; ``--cleanenv`` keeps what the image sets.
    """
    tmp_path.chmod(0o777)
    script = """
    set -e
    cd "$HOME"
    python -c 'import xarray, dask, s3fs, matplotlib.pyplot as p; p.plot([1]); p.savefig("a.png")'
    echo '{"cells":[{"cell_type":"code","id":"a","metadata":{},"execution_count":null,"outputs":[],"source":"1"}],
      "metadata":{"kernelspec":{"name":"python3","display_name":"P"}},"nbformat":4,"nbformat_minor":5}' > a.ipynb
    python -m papermill --no-progress-bar a.ipynb b.ipynb 2> log || { cat log; exit 5; }
    ls
    touch /srv/x 2>/dev/null && exit 6
    python -m pip install --user --no-index x 2>&1 | grep -c 'No matching distribution'
    """
    container = workspace.engine.client.containers.create(
        image,
        ["-c", script + SERVER],
        entrypoint="/bin/sh",
        user="123456:123456",
        environment={"HOME": "/people/me", "USER": "me"},
        volumes={str(tmp_path): {"bind": "/people/me", "mode": "rw"}},
        tmpfs={"/tmp": "rw,mode=1777"},
        read_only=True,
        network_mode="none",
    )
    try:
        container.start()
        code = container.wait(timeout=600)["StatusCode"]
        log = container.logs().decode()
    finally:
        container.remove(force=True)
    assert code == 0, log
    assert log.splitlines() == ["a.ipynb", "a.png", "b.ipynb", "log", "1", "served"]


def test_a_full_home_still_starts(start):
    script = f"head -c 300000 /dev/zero >~/big 2>/dev/null; cat >/tmp/s <<'END'\n{SERVER}END\n/srv/start bash /tmp/s"
    log = start(script, user="1000:0", tmpfs={"/home/jovyan": "rw,mode=0775,size=128k"})
    (line,) = said(log)
    assert line.startswith("start: the disk of /home/jovyan is full") and log.endswith("served\n")


def test_docker_stacks_account(start, workspace, image):
    """NB_UID and NB_GID are obeyed from root, and told to be of no use from another account."""
    show = 'id -u; id -g; whoami; touch ~/x && stat -c "%u:%g" ~ ~/x'
    log = start(show, user="0", env={"NB_UID": "1234", "NB_GID": "567"})
    assert log.split() == ["1234", "567", "jovyan", "1234:567", "1234:567"]
    log = start(show, user="0", env={"NB_UID": "1234"})
    assert log.split()[:3] == ["1234", "100", "jovyan"]
    (line,) = said(start("true", env={"NB_UID": "1234"}))
    assert line.startswith("start: no use is made of NB_UID=1234") and "--user 1234:0" in line
    (line,) = said(start("true", user="0", env={"NB_UID": "ada"}))
    assert "expected numbers not 'ada' and ''" in line
    # As it always was: root without these stays root.
    assert start("id -u", user="0") == "0\n"


def test_activation_of_conda_packages(start, tmp_path):
    """Commands, login shells with and without what the container has, and kernels see it; it happens once."""
    conda = tmp_path / "conda"
    for name in ("activate.d", "deactivate.d", "env_vars.d"):
        (conda / name).mkdir(parents=True)
    (conda / "activate.d" / "10-a.sh").write_text('export PROJ_DATA="${CONDA_PREFIX}/share/proj" TIMES="${TIMES}x"\n')
    (conda / "activate.d" / "20-b.sh").write_text('export AFTER="${PROJ_DATA}/b and ${SAID}"\n')
    (conda / "deactivate.d" / "10-a.sh").write_text("export PROJ_DATA=gone\n")
    (conda / "env_vars.d" / "a.json").write_text(json.dumps({"SAID": "it's $HOME", "NUMBER": 1}))
    mounts = {"/srv/conda/envs/notebook/etc/conda": (conda, "ro")}
    expected = "/srv/conda/envs/notebook/share/proj/b and it's $HOME x 1"
    show = 'echo "$AFTER $TIMES $NUMBER"'
    kernel = """python -c "
from jupyter_client.manager import run_kernel
with run_kernel(kernel_name='python3') as client:
    client.execute_interactive('import os; print(*map(os.environ.get, (\\'AFTER\\', \\'TIMES\\', \\'NUMBER\\')))')
" """
    script = f"""
{show}
bash -lc '{show}'
env -i HOME=/home/jovyan bash -lc '{show}'
env -i HOME=/home/jovyan sh -lc '{show}'
{kernel} 2>/dev/null
"""
    assert start(script, mounts=mounts).splitlines() == [expected] * 5


def test_own_programs_are_on_the_path_after_the_environments(start):
    script = """
mkdir -p ~/.local/bin
for name in python mine; do printf '#!/bin/sh\\necho own' >~/.local/bin/$name; done
chmod +x ~/.local/bin/*
show='command -v python; mine'
sh -c "$show"; bash -lc "$show"; env -i HOME=$HOME bash -lc "$show"
tmux new-session -d "bash -lc '$show' >/tmp/out; touch /tmp/done"
until [ -e /tmp/done ]; do sleep 0.1; done; cat /tmp/out
"""
    assert start(script).split() == ["/srv/conda/envs/notebook/bin/python", "own"] * 4


def test_astropys_file_of_earlier_images_is_renewed_and_a_persons_is_not(start):
    old = "[utils.iers.iers]\\nauto_download = False\\nauto_max_age = 36500.0\\n"
    script = f"""
file=~/.astropy/config/astropy.cfg
printf '{old}' >$file; /srv/start grep max_age $file
printf '{old}#mine\\n' >$file; /srv/start grep max_age $file
: >$file; /srv/start grep max_age $file
"""
    values = [line.split(" = ")[1] for line in start(script).splitlines()]
    assert values == ["3000.0", "36500.0", "3000.0"]


def test_which_image_it_is_and_what_changed(start, built):
    lock, digest = built.plan.locks.digest, "sha256:" + "a" * 64
    script = """
helioimages-info --json
helioimages-info --line
python - <<'END'
import json, pathlib
path = pathlib.Path.home() / ".local/share/helioimages/seen.json"
seen = json.loads(path.read_text())
now = seen["base"]["now"]
now.update(lock="sha256:old", version="2020.01.01")
now["packages"].update({"pypi numpy": "1.0", "pypi gone": "2"})
path.write_text(json.dumps(seen))
END
helioimages-info --line
helioimages-info --changes
bash -ilc true 2>/dev/null
"""
    log = start(script, env={"JUPYTER_IMAGE_SPEC": f"quay.example:5000/x/base:2026.11@{digest}"})
    document, rest = json.JSONDecoder().raw_decode(log)[0], log[log.index("\n}\n") + 3 :].splitlines()
    assert (document["image"], document["lock"]) == ("base", lock)
    assert (document["tag"], document["digest"]) == ("2026.11", digest)
    assert digest in document["cite"] and document["changed"] == []
    assert rest[0] == f"base {document['version']}, lock {lock[7:19]}"
    assert rest[1].endswith("; 2 packages changed since 2020.01.01, the last one in this home")
    numpy = document["packages"]["pypi numpy"]
    assert rest[2:4] == ["pypi gone 2 -> -", f"pypi numpy 1.0 -> {numpy}"]
    # A login terminal tells it below the greeting.
    assert rest[4].startswith("Welcome") and rest[-1] == rest[1]
