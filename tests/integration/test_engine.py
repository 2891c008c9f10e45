"""Containers under limits, in a real engine: how they end, and what is said of it."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import engine_lists
import pytest
from docker.models.containers import Container
from faulty_registry import FaultyRegistry
from limits import until_begun
from ports import free

from helioimages.core import entries
from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import Platform
from helioimages.engines.engine import RunOptions
from helioimages.oci.image import Addition, Settings, append
from helioimages.oci.layer import write_layer
from helioimages.publish.credentials import from_docker_config

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def test_the_exit_code_and_both_streams(engine, image):
    result = engine.run(image, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.exit_code, sorted(result.log.split()), result.timed_out) == (3, ["err", "out"], False)


def test_a_container_that_takes_too_long_is_ended(engine, image):
    argv = ["sh", "-c", "echo begun; exec sleep 600"]
    _, result = until_begun(
        lambda limit_s: engine.run(image, argv, RunOptions(timeout_s=limit_s)), lambda result: result.log != ""
    )
    assert (result.timed_out, result.exit_code, result.log.strip()) == (True, 124, "begun")
    assert result.seconds < 300


def test_a_container_that_takes_too_much_memory_is_ended(engine, image):
    result = engine.run(image, ["python", "-c", "b'x' * (600 << 20)"], RunOptions(memory="128m"))
    assert result.exit_code == 137
    assert result.oom_killed
    assert result.peak_memory_bytes <= 128 << 20


def test_what_a_container_took_of_the_processors(engine, image):
    script = "import time\nwhile time.process_time() < 1.5: pass\ntime.sleep(1)"
    result = engine.run(image, ["python", "-c", script])
    # Its group goes with it: the last look may be a fifth of a second old.
    assert result.exit_code == 0
    assert 1.0 < result.cpu_seconds < result.seconds


def test_no_container_stays(engine, image):
    # Other tests run containers of this image at the same time: ours are known by a variable.
    mine = f"MINE={uuid.uuid4()}"
    env = dict([mine.split("=")])
    assert engine.run(image, ["false"], RunOptions(env=env)).exit_code == 1
    assert engine.run(image, ["no-such-program"], RunOptions(env=env)).exit_code == 127
    assert engine.run(image, ["sleep", "60"], RunOptions(env=env, timeout_s=1)).timed_out
    assert [
        container for container in engine_lists.containers(engine.client) if mine in container.attrs["Config"]["Env"]
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


def test_a_login_that_podman_left_is_handed_to_the_engine(engine, tmp_path, monkeypatch):
    """A real engine knows no login by itself, and one for a registry that asks for it comes with the pull."""
    for name in ("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    registry = FaultyRegistry()
    try:
        with open(tmp_path / "layer", "wb") as file:
            layer = write_layer([entries.file("hello", b"hello")], file)
        addition = Addition(layer=layer, created_by="ADD", comment="")
        image = append(None, [addition], Settings(), platform=Platform.of("linux/amd64"), created_epoch=0)
        for data in (image.config_bytes, (tmp_path / "layer").read_bytes()):
            registry.put("org/helio", data)
        registry.manifests["org/helio", image.digest] = (image.manifest.media_type, image.manifest_bytes)
        registry.auth, registry.users = "basic", {"ada": "s3cret"}
        reference = f"{registry.host}/org/helio@{image.digest}"
        ours = dataclasses.replace(engine, credentials=from_docker_config())
        with pytest.raises(HelioError, match="the engine cannot pull"):
            ours.pull(reference)
        pair = base64.b64encode(b"ada:s3cret").decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {f"{registry.host}/org": {"auth": pair}}}))
        ours.pull(reference)
        assert ours.client.images.get(reference)
        ours.client.images.remove(reference)
    finally:
        registry.close()


def served_at(engine, port: int) -> list[Container]:
    """Return the containers of `serve` at a port: others' may be starting just now."""
    made = engine_lists.containers(engine.client, label="io.helioimages.run")
    return [container for container in made if f"'{port}'" in str(container.attrs["HostConfig"]["PortBindings"])]


def test_a_taken_port(engine, image):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(HelioError) as caught:
            engine.serve(image, port=(port := taken.getsockname()[1]))
    assert (caught.value.message, caught.value.detail) == (f"port {port} of 127.0.0.1 is taken", "")
    assert served_at(engine, port) == []


def test_a_server_that_ends_is_told_and_removed(engine, image):
    port = free()
    with pytest.raises(HelioError) as caught:
        engine.serve(image, port=port, desk={"command": ["sh", "-c", "echo no server here; exit 3"]})
    assert caught.value.message == f"`{image}` ended without an address"
    assert "no server here" in caught.value.detail
    assert served_at(engine, port) == []


def test_a_server_that_somebody_stops_while_it_starts(engine, image):
    port = free()

    def stop() -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if any(container.status == "running" for container in served_at(engine, port)):
                return engine.end_served(port)
            time.sleep(0.1)
        return 0

    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(stop)
        with pytest.raises(HelioError) as caught:
            engine.serve(image, port=port, desk={"command": ["sleep", "infinity"]})
        assert stopped.result() == 1
    assert caught.value.message in (
        f"the container of `{image}` was lost while it started",
        # It had ended, and was still there.
        f"`{image}` ended without an address",
    )
    assert served_at(engine, port) == []


def test_a_gpu_that_is_not_there_is_said(engine, image):
    if any(Path("/dev").glob("nvidia*")):
        pytest.skip("this machine has a GPU")
    with pytest.raises(HelioError) as caught:
        engine.run(image, ["true"], RunOptions(gpus="all"))
    assert (caught.value.stage, caught.value.message) == (
        Stage.ENGINE,
        "the engine has no GPU to give (`--gpus all`)",
    )
    assert "device driver" in caught.value.detail
    assert caught.value.hint.endswith("or say --gpus none: every image runs on the processor too")


@pytest.mark.parametrize("text", ["0", "-1", "some"])
def test_gpus_are_all_or_a_number(engine, image, text):
    with pytest.raises(HelioError) as caught:
        engine.run(image, ["true"], RunOptions(gpus=text))
    assert (caught.value.stage, caught.value.detail) == (
        Stage.USAGE,
        f"expected `all`, `none` or a number, not {text!r}",
    )


def test_an_image_for_gpus_says_that_it_was_given_none(engine, image):
    hook = Path(__file__).parents[2] / "images/ml-gpu/files/srv/start.d/gpu.sh"
    result = engine.run(image, ["echo", "on"], RunOptions(mounts={"/srv/start.d/gpu.sh": (hook, "ro")}))
    # Two streams come in any order.
    assert sorted(result.log.splitlines()) == [
        "helioimages: this container was given no GPU (docker run --gpus all; on Kubernetes a limit of nvidia.com/gpu)"
        "; PyTorch, JAX and XGBoost use the processor, CuPy cannot",
        "on",
    ]


def test_an_image_for_gpus_says_that_the_library_is_missing(engine, image, tmp_path):
    hook = Path(__file__).parents[2] / "images/ml-gpu/files/srv/start.d/gpu.sh"
    device = tmp_path / "nvidiactl"
    device.touch()
    mounts = {"/srv/start.d/gpu.sh": (hook, "ro"), "/dev/nvidiactl": (device, "ro")}
    result = engine.run(image, ["echo", "on"], RunOptions(mounts=mounts))
    # Two streams come in any order.
    assert sorted(result.log.splitlines()) == [
        "helioimages: there is a GPU, but not its driver's library (libcuda.so.1): the node lacks NVIDIA's container "
        "toolkit; PyTorch, JAX and XGBoost use the processor, CuPy cannot",
        "on",
    ]
