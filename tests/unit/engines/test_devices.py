"""What each engine is asked for a GPU, and whether it has one; the engines are stand-ins, since GPUs are rare.

What real engines do with it was seen with podman 4.3, whose API takes a request and gives nothing.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.engines import desk, devices
from helioimages.engines.desk import Desk


def engine(version="26.1.5", *, podman=False, **told) -> SimpleNamespace:
    parts = [{"Name": "Podman Engine" if podman else "Engine"}]
    return SimpleNamespace(version=lambda: {"Version": version, "Components": parts}, info=lambda: told)


NVIDIA = engine(Runtimes={"runc": {}, "nvidia": {}})
CDI = engine("28.2.0", Runtimes={"runc": {}}, DiscoveredDevices=[{"Source": "cdi", "ID": "nvidia.com/gpu=all"}])
OTHERS = engine("28.2.0", Runtimes={"runc": {}}, DiscoveredDevices=[{"Source": "cdi", "ID": "amd.com/gpu=all"}])
PLAIN = engine(Runtimes={"runc": {}}, DiscoveredDevices=None)
PODMAN, OLD_PODMAN = engine("5.4.2", podman=True), engine("4.3.1", podman=True)


def asked(client, gpus):
    return [(request["Driver"], request["Count"], request["DeviceIDs"]) for request in devices.requests(client, gpus)]


@pytest.mark.parametrize(
    ("client", "gpus", "request_of_it"),
    [
        (NVIDIA, "all", ("", -1, [])),
        (NVIDIA, "2", ("", 2, [])),
        (PLAIN, "all", ("", -1, [])),
        (OTHERS, "all", ("", -1, [])),
        (CDI, "all", ("cdi", 0, ["nvidia.com/gpu=all"])),
        (CDI, "2", ("cdi", 0, ["nvidia.com/gpu=0", "nvidia.com/gpu=1"])),
        (PODMAN, "1", ("cdi", 0, ["nvidia.com/gpu=0"])),
        (engine("10.0", podman=True), "all", ("cdi", 0, ["nvidia.com/gpu=all"])),
    ],
)
def test_what_an_engine_is_asked(client, gpus, request_of_it):
    assert asked(client, gpus) == [request_of_it]


@pytest.mark.parametrize("gpus", [None, "none"])
def test_who_wants_none_asks_the_engine_nothing(gpus):
    silent = SimpleNamespace()
    assert devices.requests(silent, gpus) == devices.words(silent, gpus, podman=True) == []


def test_a_podman_that_would_give_nothing_without_a_word_is_refused():
    with pytest.raises(HelioError) as caught:
        devices.requests(OLD_PODMAN, "all")
    assert (caught.value.stage, caught.value.message, caught.value.detail) == (
        Stage.ENGINE,
        "podman 4.3.1 gives no GPU through its API (`--gpus all`)",
        "expected podman 5.4 or newer",
    )


@pytest.mark.parametrize(
    ("client", "podman", "words"),
    [
        (NVIDIA, False, ["--gpus", "2"]),
        (CDI, False, ["--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=1"]),
        (OLD_PODMAN, True, ["--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=1"]),
    ],
)
def test_what_a_client_is_told(client, podman, words):
    assert devices.words(client, "2", podman=podman) == words


@pytest.mark.parametrize(
    ("client", "address", "driver", "described", "has"),
    [
        (NVIDIA, "unix:///run/docker.sock", True, False, "all"),
        (NVIDIA, "unix:///run/docker.sock", False, False, None),
        (NVIDIA, "tcp://far:2375", False, False, "all"),
        (CDI, "unix:///run/docker.sock", False, False, "all"),
        (OTHERS, "unix:///run/docker.sock", True, False, None),
        (PLAIN, "unix:///run/docker.sock", True, True, None),
        (PODMAN, "unix:///run/podman.sock", False, True, "all"),
        (PODMAN, "unix:///run/podman.sock", True, False, None),
        (PODMAN, "tcp://far:2375", True, True, None),
        (OLD_PODMAN, "unix:///run/podman.sock", True, True, None),
    ],
)
def test_whether_an_engine_has_some(tmp_path, monkeypatch, client, address, driver, described, has):
    (tmp_path / "version").touch()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "amd.yaml").write_text("kind: amd.com/gpu\n")
    (tmp_path / "nvidia.yaml").write_text(f"kind: {'nvidia' if described else 'intel'}.com/gpu\n")
    monkeypatch.setattr(devices, "_DRIVER", (tmp_path / "version",) if driver else (tmp_path / "no",))
    monkeypatch.setattr(devices, "_SPECS", (tmp_path / "no", tmp_path))
    assert devices.present(client, address) == has


@pytest.mark.parametrize(
    ("client", "here", "first"),
    [
        (NVIDIA, ("docker", "podman"), ["docker", "-H", "A", "--gpus", "1"]),
        (OLD_PODMAN, ("docker", "podman"), ["podman", "--url", "A", "--device", "nvidia.com/gpu=0"]),
        (PODMAN, ("docker",), ["docker", "-H", "A", "--device", "nvidia.com/gpu=0"]),
    ],
)
def test_a_shell_is_opened_by_the_client_that_can_ask(monkeypatch, client, here, first):
    said = []
    monkeypatch.setattr(desk.shutil, "which", lambda name: f"/bin/{name}" if name in here else None)
    monkeypatch.setattr(desk.subprocess, "run", lambda argv, check: said.append(argv) or SimpleNamespace(returncode=5))
    work = Desk(reference="r@d", folder=Path("/data"), user="5:0", home="/home/jovyan")
    assert desk.shell(SimpleNamespace(client=client, address="A"), work, "1") == 5
    (argv,) = said
    program, flag, address, *words = first
    assert argv[:4] == [f"/bin/{program}", flag, address, "run"]
    assert [word for word in argv if word in words] == words
    assert argv[-3:] == ["r@d", "bash", "-l"]


@pytest.mark.parametrize(("client", "program"), [(PODMAN, "podman"), (NVIDIA, "docker")])
def test_without_a_client_there_is_no_shell(monkeypatch, client, program):
    here = {"podman"} if program == "docker" else set()
    monkeypatch.setattr(desk.shutil, "which", lambda name: f"/bin/{name}" if name in here else None)
    work = Desk(reference="r", folder=None, user="", home="/root")
    with pytest.raises(HelioError, match=f"there is no {program} client"):
        desk.shell(SimpleNamespace(client=client, address="A"), work, None)
