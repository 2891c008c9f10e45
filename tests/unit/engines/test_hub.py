"""The hub's parts that need no hub: records, refusals, certificates for containers, and its locks."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import socket
import stat
import tarfile
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import main

from helioimages.catalogue.profiles import Offer
from helioimages.core import files as whole
from helioimages.core.errors import HelioError, Stage
from helioimages.engines.hub import parts as hub_parts
from helioimages.engines.hub import server as hub_server
from helioimages.verbs import hub as verbs_hub

HUB = hub_parts.SOURCE
OFFERED = hub_server.HubOffer(images="", gateway="", home="/home/jovyan")
NOBODY = "unix:///nonexistent/docker.sock"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"processes": 1}'])
def test_a_damaged_record_is_no_hub(tmp_path, text):
    (tmp_path / "hub.json").write_text(text)
    assert hub_server.read(tmp_path) is None
    assert hub_server.stop(tmp_path) is None


def test_down_stops_the_rest_when_the_hubs_engine_is_gone(tmp_path, monkeypatch):
    folder = hub_server.default_folder(tmp_path)
    folder.mkdir()
    record = {"name": "x", "address": "http://127.0.0.1:1/", "password": "p", "engine": NOBODY, "processes": []}
    (folder / "hub.json").write_text(json.dumps(record))
    stopped = []
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path))
    monkeypatch.setattr("helioimages.verbs.down.registry_server.stop", lambda root: stopped.append("registry"))
    monkeypatch.setattr("helioimages.verbs.down.own_engine.stop", lambda store: stopped.append("engine"))
    assert CliRunner().invoke(main, ["down"]).exit_code == Stage.ENGINE
    assert stopped == ["registry", "engine"]


def test_two_that_start_at_once_wait_for_each_other(tmp_path):
    parts = hub_parts.Parts(python=Path("/bin/false"), proxy=("/bin/false",))
    folder = tmp_path / "hub"
    begun = threading.Event()

    def start() -> None:
        begun.set()
        with pytest.raises(HelioError, match="the hub does not start"):
            hub_server.start(folder, parts, OFFERED, engine=NOBODY, port=0)

    other = threading.Thread(target=start)
    with whole.held(tmp_path / ".hub.lock"):
        other.start()
        assert begun.wait(10)
        other.join(0.3)
        assert other.is_alive() and not folder.exists()
    other.join(30)
    assert not other.is_alive() and folder.exists()


def test_a_port_that_is_taken(tmp_path):
    parts = hub_parts.Parts(python=Path("/bin/false"), proxy=("/bin/false",))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(HelioError) as caught:
            hub_server.start(tmp_path / "hub", parts, OFFERED, engine=NOBODY, port=port)
    assert str(caught.value) == (
        f"port {port} of 127.0.0.1 is taken\n\nhint: choose another --port, or 0 for any free one"
    )
    assert caught.value.stage == Stage.USAGE
    assert not (tmp_path / "hub").exists()


def test_a_hub_that_ends_at_once(tmp_path):
    """The error shows what it said; what runs is ended, and secrets are for the owner only."""
    folder = tmp_path / "hub"
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ncase "$2" in jupyterhub) echo "no such user"; exit 1;; esac\nexec sleep 60\n')
    program.chmod(0o755)
    parts = hub_parts.Parts(python=program, proxy=(str(program),))
    with pytest.raises(HelioError) as caught:
        hub_server.start(folder, parts, OFFERED, engine=NOBODY, port=0)
    assert str(caught.value) == (
        f"the hub does not start\n  in {folder}\n  hub ended\n  hub: no such user\n\n"
        f"hint: look into the logs in {folder}"
    )
    assert caught.value.stage == Stage.HOST
    left = hub_server.read(folder)
    assert left is not None and not any(process.alive for process in left.processes)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_an_engine_that_is_gone_keeps_the_record(tmp_path):
    hub = {"name": "x", "address": "x", "password": "x", "engine": NOBODY, "processes": []}
    (tmp_path / "hub.json").write_text(json.dumps(hub))
    with pytest.raises(HelioError) as caught:
        hub_server.stop(tmp_path)
    assert str(caught.value) == (
        f"no engine answers at {NOBODY}\n  it runs the servers of the hub\n\n"
        "hint: start that engine and run `buildimages hub --stop` again"
    )
    assert hub_server.read(tmp_path) is not None


def test_nothing_to_stop(tmp_path, monkeypatch):
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path))
    done = CliRunner().invoke(main, ["hub", "--stop"])
    assert (done.exit_code, done.stdout) == (0, "no hub runs\n")
    done = CliRunner().invoke(main, ["hub", "--stop", "--json"])
    assert json.loads(done.stdout) == {"stopped": False}


def test_an_offer_by_digest():
    digest = "sha256:" + "0" * 64
    plain = "127.0.0.1:5000/org/helio:2026.11.21"
    offer = Offer(
        image="helio", key="x", title="x", reference=f"{plain}@{digest}", plain=plain, gpu=False, sizes=("small",)
    )
    pinned = verbs_hub.by_digest(offer)
    assert pinned.reference == pinned.plain == f"127.0.0.1:5000/org/helio@{digest}"


def test_certificates_are_for_the_containers_user_only(tmp_path):
    spec = importlib.util.spec_from_file_location("in_image", HUB / "in_image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "dask.pem").write_text("key")
    with tarfile.open(fileobj=io.BytesIO(module.archive(tmp_path, "/tmp/dask-gateway", 1000))) as tar:
        rows = [(member.name, member.mode, member.uid, member.isdir()) for member in tar]
        assert rows == [("tmp/dask-gateway", 0o700, 1000, True), ("tmp/dask-gateway/dask.pem", 0o600, 1000, False)]
        assert tar.extractfile("tmp/dask-gateway/dask.pem").read() == b"key"


def test_the_locks_pin_every_byte_and_name_no_host():
    packages = json.loads((HUB / "package-lock.json").read_text())["packages"]
    assert "node_modules/configurable-http-proxy" in packages
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name
    text = (HUB / "requirements.lock").read_text()
    assert "://" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in block, block
