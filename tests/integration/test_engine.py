"""Containers under limits, in a real engine: how they end, and what is said of it."""

from __future__ import annotations

import re
import socket
import uuid
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError, Stage

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def test_the_exit_code_and_both_streams(engine, image):
    result = engine.run(image, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.exit_code, sorted(result.log.split()), result.timed_out) == (3, ["err", "out"], False)


def test_a_container_that_takes_too_long_is_ended(engine, image):
    result = engine.run(image, ["sh", "-c", "echo begun; exec sleep 60"], timeout_s=2)
    assert (result.timed_out, result.exit_code, result.log.strip()) == (True, 124, "begun")
    assert result.seconds < 30


def test_a_container_that_takes_too_much_memory_is_ended(engine, image):
    result = engine.run(image, ["python", "-c", "b'x' * (600 << 20)"], memory="128m")
    assert result.exit_code == 137
    assert result.oom_killed
    assert result.peak_memory_bytes <= 128 << 20


def test_no_container_stays(engine, image):
    # Other tests run containers of this image at the same time: ours are known by a variable.
    mine = f"MINE={uuid.uuid4()}"
    env = dict([mine.split("=")])
    assert engine.run(image, ["false"], env=env).exit_code == 1
    assert engine.run(image, ["no-such-program"], env=env).exit_code == 127
    assert engine.run(image, ["sleep", "60"], env=env, timeout_s=1).timed_out
    assert [
        one
        for one in engine.client.containers.list(all=True, ignore_removed=True)
        if mine in one.attrs["Config"]["Env"]
    ] == []


def test_there_is_no_network_unless_asked_for(engine, image):
    result = engine.run(image, ["sh", "-c", "ls /sys/class/net"])
    assert result.log.split() == ["lo"]


def test_a_digest_that_the_registry_has_not(engine, image):
    wrong = re.sub(r"[0-9a-f]{64}$", "0" * 64, image)
    with pytest.raises(HelioError) as caught:
        engine.pull(wrong)
    assert (caught.value.stage, caught.value.message) == (Stage.ENGINE, f"the engine cannot pull `{wrong}`")
    assert caught.value.hint == f"run `docker -H {engine.address} pull {wrong}`"


def test_a_taken_port(engine, image):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(HelioError) as caught:
            engine.serve(image, port=(port := taken.getsockname()[1]))
    assert (caught.value.message, caught.value.hint) == (f"cannot start `{image}`", "choose another --port")
    made = engine.client.containers.list(all=True, ignore_removed=True, filters={"label": "io.helioimages.run"})
    # Others' may be starting just now.
    left = [one.id for one in made if f"'{port}'" in str(one.attrs["HostConfig"]["PortBindings"])]
    assert left == []


def test_a_gpu_that_is_not_there_is_said(engine, image):
    if any(Path("/dev").glob("nvidia*")):
        pytest.skip("this machine has a GPU")
    with pytest.raises(HelioError) as caught:
        engine.run(image, ["true"], gpus="all")
    assert (caught.value.stage, caught.value.message) == (
        Stage.ENGINE,
        "the engine has no GPU to give (`--gpus all`)",
    )
    assert "device driver" in caught.value.detail
    assert caught.value.hint.endswith("or leave --gpus out: every image runs on the processor too")


@pytest.mark.parametrize("text", ["0", "-1", "some"])
def test_gpus_are_all_or_a_number(engine, image, text):
    with pytest.raises(HelioError) as caught:
        engine.run(image, ["true"], gpus=text)
    assert (caught.value.stage, caught.value.detail) == (Stage.USAGE, f"expected `all` or a number, not {text!r}")


def test_an_image_for_gpus_says_that_it_was_given_none(engine, image):
    hook = Path(__file__).parents[2] / "images/ml-gpu/files/srv/start.d/gpu.sh"
    result = engine.run(image, ["echo", "on"], mounts={"/srv/start.d/gpu.sh": (hook, "ro")})
    assert result.log.splitlines() == [
        "helioimages: this container was given no GPU (docker run --gpus all; on Kubernetes a limit of nvidia.com/gpu)"
        "; PyTorch, JAX and XGBoost use the processor, CuPy cannot",
        "on",
    ]


def test_an_image_for_gpus_says_that_the_library_is_missing(engine, image, tmp_path):
    hook = Path(__file__).parents[2] / "images/ml-gpu/files/srv/start.d/gpu.sh"
    device = tmp_path / "nvidiactl"
    device.touch()
    mounts = {"/srv/start.d/gpu.sh": (hook, "ro"), "/dev/nvidiactl": (device, "ro")}
    result = engine.run(image, ["echo", "on"], mounts=mounts)
    assert result.log.splitlines() == [
        "helioimages: there is a GPU, but not its driver's library (libcuda.so.1): the node lacks NVIDIA's container "
        "toolkit; PyTorch, JAX and XGBoost use the processor, CuPy cannot",
        "on",
    ]
