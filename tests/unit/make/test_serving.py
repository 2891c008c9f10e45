"""The local channel for others: rattler installs from what is served, and a folder of something else is left alone."""

import hashlib
import json
import threading
from pathlib import Path

import pytest
import zstandard
from conda_support import run_python

from helioimages.conda.pack import write_conda, write_repodata
from helioimages.core.entries import Content, Entry, Kind
from helioimages.core.errors import HelioError
from helioimages.make import serving

INSTALL = """
import asyncio, json, os, sys
from pathlib import Path
import rattler

async def main(address, cache, target):
    gateway = rattler.Gateway(cache_dir=cache)
    records = await rattler.solve([rattler.Channel(address)], ["tool"], gateway, ["linux-64", "noarch"])
    await rattler.install(records, target_prefix=target, cache_dir=Path(cache), show_progress=False,
                          platform=rattler.Platform("linux-64"))

asyncio.run(main(*json.load(sys.stdin)))
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture
def built(tmp_path) -> Path:
    """A channel as `build_channel` leaves it."""
    folder = tmp_path / "store" / "key"
    path = folder / "linux-64" / "tool-1.0-h0_0.conda"
    index = {"name": "tool", "version": "1.0", "build": "h0_0", "build_number": 0, "subdir": "linux-64", "depends": []}
    entry = Entry(path="share/tool", kind=Kind.FILE, content=Content.of(b"of ours\n"))
    write_conda(path, index=index, entries=[entry])
    write_repodata(folder, ("linux-64",))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "channel.json").write_text(
        json.dumps({"packages": [{"file": f"linux-64/{path.name}", "sha256": sha256}]})
    )
    return folder


def test_rattler_installs_what_is_served(built, tmp_path):
    out = tmp_path / "local"
    assert serving.export(built, out) == (out / "linux-64/tool-1.0-h0_0.conda",)
    for subdir in ("linux-64", "noarch"):
        (out / subdir / "repodata.json").rename(out / subdir / "kept")  # the compressed index is enough
        assert json.loads(zstandard.decompress((out / subdir / "repodata.json.zst").read_bytes()))["repodata_version"]
    with serving.server_of(out) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/local"
        run_python(INSTALL, [address, str(tmp_path / "cache"), str(tmp_path / "prefix")])
        server.shutdown()
    assert (tmp_path / "prefix/share/tool").read_bytes() == b"of ours\n"


def test_a_second_time_changes_nothing(built, tmp_path):
    out = tmp_path / "local"
    serving.export(built, out)
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    serving.export(built, out)
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before


def test_older_packages_stay(built, tmp_path):
    out = tmp_path / "local"
    serving.export(built, out)
    index = {"name": "tool", "version": "0.9", "build": "h0_0", "build_number": 0, "subdir": "linux-64", "depends": []}
    write_conda(out / "linux-64/tool-0.9-h0_0.conda", index=index, entries=[])
    serving.export(built, out)
    document = json.loads((out / "linux-64/repodata.json").read_text())
    assert sorted(document["packages.conda"]) == ["tool-0.9-h0_0.conda", "tool-1.0-h0_0.conda"]


def test_what_is_no_channel_or_another_package_is_left_alone(built, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    with pytest.raises(HelioError, match=r"is not the folder of a channel"):
        serving.export(built, tmp_path / "mine")
    serving.export(built, tmp_path / "local")
    (tmp_path / "local/linux-64/tool-1.0-h0_0.conda").write_bytes(b"other")
    with pytest.raises(HelioError, match=r"is another package"):
        serving.export(built, tmp_path / "local")
