"""What an image must look like inside, asked of the real base image in a real engine; and the Dockerfile's proof."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from context_support import assert_built_alike

from helioimages.engines.engine import RunOptions
from helioimages.make import images

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]
ROOT = Path(__file__).parents[2]

#: A peer is gone, and the next connection is asked whether there is something to read.
TWO_CONNECTIONS = """\
import socket, ssl, threading

def pair():
    near, far = socket.socketpair()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain("/tmp/c.pem", "/tmp/k.pem")
    client = ssl.create_default_context(cafile="/tmp/c.pem")
    client.check_hostname = False
    found = []
    thread = threading.Thread(target=lambda: found.append(client.wrap_socket(far)))
    thread.start()
    wrapped = server.wrap_socket(near, server_side=True)
    thread.join()
    return wrapped, found[0]

gone, peer = pair()
healthy, other = pair()
healthy.setblocking(False)
peer.close()
for connection, act in ((gone, lambda: gone.send(b"x")), (healthy, lambda: healthy.recv(1))):
    try:
        act()
    except OSError as error:
        print(type(error).__name__)
"""


def shell(workspace, image, script, **options) -> str:
    result = workspace.engine.run(image, ["bash", "-c", script], RunOptions(**options))
    assert result.exit_code == 0, result.log
    return result.log


def test_user_prefix_and_home(workspace, image):
    log = shell(workspace, image, "id; pwd; python -c 'import sys; print(sys.prefix)'; echo $HOME")
    assert log.splitlines() == [
        "uid=1000(jovyan) gid=1000(jovyan) groups=1000(jovyan),100(users)",
        "/home/jovyan",
        "/srv/conda/envs/notebook",
        "/home/jovyan",
    ]


def test_config(workspace, built):
    config = json.loads(built.image.config_bytes)["config"]
    assert config["User"] == "1000"
    assert config["Entrypoint"] == ["/srv/start"]
    assert config["WorkingDir"] == "/home/jovyan"
    assert "8888/tcp" in config["ExposedPorts"]
    for label in ("title", "description", "revision", "version", "created", "licenses", "base.name"):
        assert config["Labels"][f"org.opencontainers.image.{label}"]


def test_tools_are_on_path(workspace, image):
    tools = "bash git git-lfs ssh curl less nano vim make gcc tar zip unzip xz ps rsync jupyter jupyterhub-singleuser"
    assert shell(workspace, image, "aws --version").startswith("aws-cli/2.")
    shell(workspace, image, f"for tool in {tools}; do command -v $tool >/dev/null || {{ echo $tool; exit 1; }}; done")


def test_pip_sees_the_truth(workspace, image, built):
    assert "No broken requirements found." in shell(workspace, image, "pip check")
    listed = json.loads(shell(workspace, image, "pip list --format json --disable-pip-version-check"))
    assert {row["name"].lower().replace("_", "-").replace(".", "-") for row in listed} >= {
        wheel.name for wheel in built.locks.pypi.wheels
    }


def test_a_login_shell_has_the_environment(workspace, image):
    log = shell(workspace, image, "env -i HOME=/home/jovyan bash -lc 'command -v python; echo $CONDA_DEFAULT_ENV'")
    assert log.split() == ["/srv/conda/envs/notebook/bin/python", "notebook"]


def test_the_kernel_is_named_for_people(workspace, image):
    kernels = json.loads(shell(workspace, image, "jupyter kernelspec list --json 2>/dev/null"))["kernelspecs"]
    assert {name: kernel["spec"]["display_name"] for name, kernel in kernels.items()} == {
        "python3": "Python (heliophysics)"
    }
    script = """python -c "
from jupyter_client.manager import run_kernel
with run_kernel(kernel_name='python3') as client:
    client.execute_interactive('print(6 * 7)')" """
    assert shell(workspace, image, script).splitlines()[-1] == "42"


def test_dask_configuration(workspace, image):
    script = """python -c "import dask
assert '/srv/conda/etc' in dask.config.paths
print(dask.config.get('labextension.factory.class'))" """
    assert shell(workspace, image, script).strip() == "LocalCluster"


@pytest.mark.parametrize("part", ["scheduler", "worker"])
def test_dask_gateways_default_commands(workspace, image, part):
    version = shell(workspace, image, f"dask-{part} --version")
    assert version == shell(workspace, image, f"dask {part} --version") != ""


def test_an_arbitrary_uid_and_a_read_only_root(workspace, image):
    log = shell(
        workspace,
        image,
        "touch $HOME/x && python -c 'import getpass, numpy; print(getpass.getuser())'",
        user="123456:0",
        read_only=True,
        tmpfs={"/home/jovyan": "rw,mode=0777", "/tmp": "rw"},
    )
    assert log.strip() == "jovyan"


def test_astropy_takes_its_own_earth_rotation_tables(workspace, image):
    """The values that the start script writes are ones that Astropy takes, and UT1 needs no network."""
    script = """python -W ignore -c "
from astropy.time import Time
from astropy.utils import iers
print(iers.conf.auto_download, iers.conf.auto_max_age)
print(abs(Time('2020-01-01').ut1.jd - Time('2020-01-01').utc.jd) * 86400 < 1)" """
    assert shell(workspace, image, script).split() == ["False", "3000.0", "True"]


def test_heliocloud_scratch(workspace, image):
    env = {"HELIOCLOUD_SCRATCH_PREFIX": "s3://scratch", "JUPYTERHUB_USER": "ada"}
    assert shell(workspace, image, "echo $HELIOCLOUD_SCRATCH", env=env).strip() == "s3://scratch/ada/"


def test_threads_are_as_many_as_the_processors_that_the_container_may_use(workspace, image):
    show = 'echo "${OMP_NUM_THREADS-unset}"'
    assert shell(workspace, image, show, cpus=1.0) == "1\n"
    assert shell(workspace, image, show, cpus=0.5) == "1\n"
    assert shell(workspace, image, show, cpus=1.0, env={"OMP_NUM_THREADS": "3"}) == "3\n"
    # No less than the machine has: nothing to say.
    assert shell(workspace, image, show, cpus=1024.0) == "unset\n"


def test_an_error_of_one_tls_connection_is_not_the_next_ones(workspace, image):
    """Of channel/python/patches/ssl-error-queue.patch: without it, Dask schedulers with TLS lose their clients."""
    certificate = "openssl req -x509 -newkey rsa:2048 -nodes -keyout /tmp/k.pem -out /tmp/c.pem -days 2 -subj /CN=x"
    log = shell(workspace, image, f"{certificate} 2>/dev/null && python -c '{TWO_CONNECTIONS}'")
    assert log.split() == ["BrokenPipeError", "SSLWantReadError"]


def test_pid_1_reaps_and_ends_when_it_is_told(workspace, image):
    container = workspace.engine.client.containers.run(image, ["sleep", "infinity"], detach=True, network_mode="none")
    try:
        # The entry point is a script, which becomes tini.
        seen = b""
        while seen != b"tini\n":
            assert seen in (b"", b"start\n")
            seen = container.exec_run(["cat", "/proc/1/comm"]).output
        container.stop(timeout=300)
        # By the signal that asks (15), not by the one that comes after the timeout (9).
        assert container.wait()["StatusCode"] == 128 + 15
    finally:
        container.remove(force=True)


def test_no_world_writable_files_and_few_setuid(workspace, image):
    writable = shell(workspace, image, "find / -xdev -type f -perm -0002 2>/dev/null; true", user="0")
    assert writable.strip() == ""
    setuid = shell(workspace, image, "find / -xdev -type f -perm /6000 2>/dev/null | sort; true", user="0").split()
    assert not [path for path in setuid if not path.startswith("/usr/")]


@pytest.mark.long
def test_docker_build_of_the_context_gives_the_same_files(workspace, built, image, tmp_path):
    """test_conda_whole_image.py asks the same of a small image, in a tenth of the time."""
    images.context(workspace.root, workspace.store, built, tmp_path / "context")
    assert_built_alike(workspace.engine, tmp_path / "context", image)
