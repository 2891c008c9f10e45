"""Environments of several channels over HTTP on loopback: what is locked, fetched, refused."""

import base64
import hashlib
import json
import shutil
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import zstandard
from locking_support import World

from helioimages.conda.channels import read_places
from helioimages.conda.pack import write_conda, write_repodata
from helioimages.core.entries import Content, Entry, Kind
from helioimages.core.errors import HelioError
from helioimages.locks import locking
from helioimages.locks.channels import conda_file
from helioimages.machine.fetch import fetch_all
from helioimages.machine.store import Store

LOGIN = "Basic " + base64.b64encode(b"me:secret").decode()


class Served(SimpleHTTPRequestHandler):
    """Folders are channels; what is below ``closed`` wants a login, ``denied`` refuses all."""

    def do_GET(self):
        token, self.path = self.path.startswith("/t/tk-1/"), self.path.removeprefix("/t/tk-1")
        login = self.headers.get("Authorization") in (LOGIN, "Bearer tk-2")
        if self.path.startswith("/closed/") and not login and not token:
            self.send_error(401)
        elif self.path.startswith("/denied/"):
            self.send_error(403)
        else:
            # It tells times in whole seconds: an index that changed twice in one would be the first for its readers.
            del self.headers["If-Modified-Since"]
            super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_arguments):
        pass


def add(channel: Path, name: str, version: str, *depends: str, subdir: str = "linux-64", file: str = "") -> Path:
    """Put a package with one file into a channel and index it."""
    path = channel / subdir / f"{name}-{version}-h0_0.conda"
    content = Content.of(f"{channel.name} {name}".encode())
    write_conda(
        path,
        index={
            "name": name,
            "version": version,
            "build": "h0_0",
            "build_number": 0,
            "subdir": subdir,
            "depends": list(depends),
            "timestamp": 1_700_000_000_000,
            **({"noarch": "generic"} if subdir == "noarch" else {}),
        },
        entries=[Entry(path=file or f"share/{name}", kind=Kind.FILE, content=content)],
    )
    write_repodata(channel, ("linux-64",))
    return path


class Channels(World):
    """A checkout whose environments are of channels on loopback."""

    def asks(self, *channels: str, conda=(), **ours) -> None:
        self.environment("e", conda=("python=3.13", *conda), **ours)
        file = self.root / "environments" / "e" / "environment.yml"
        file.write_text(file.read_text().replace("[local]", json.dumps(channels)))

    def lock_it(self, *dirs, **options):
        locking.lock(self.root, self.store, ("e",), locking.Wish(channel_dirs=dirs, **options))
        return self.conda_lock("e")

    def fetch(self, lock):
        """Fetch as another machine does: `lock` has brought everything into this one's store."""
        wanted = [conda_file(one, f"package[{i}]", read_places()) for i, one in enumerate(lock.packages)]
        return fetch_all(wanted, Store(Path(tempfile.mkdtemp(dir=self.root))))


def found(lock):
    return {one.name: (one.version, one.channel) for one in lock.packages}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The folder of the channels and its address; conda's and rattler's settings name them and the login."""
    folder = tmp_path / "channels"
    for name in ("main", "extra", "closed", "denied"):
        (folder / name).mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    home = tmp_path / "home"
    (home / ".rattler").mkdir(parents=True)
    (home / ".rattler/credentials.json").write_text(
        json.dumps({"127.0.0.1": {"BasicHTTP": {"username": "me", "password": "secret"}}})
    )
    (home / ".condarc").write_text(f"channel_alias: {url}\n")
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONDARC", "CONDA_CHANNEL_ALIAS", "RATTLER_AUTH_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(home / ".rattler/credentials.json"))
    yield folder, url
    server.shutdown()
    server.server_close()


@pytest.fixture
def made(tmp_path, package_index, served, monkeypatch):
    folder, url = served
    add(folder / "main", "python", "3.13.5", "libz")
    add(folder / "main", "libz", "1.3")
    add(folder / "extra", "libz", "2.0")
    add(folder / "extra", "tool", "1.0", "secretive", subdir="noarch")
    add(folder / "closed", "secretive", "1.0")
    (tmp_path / "world").mkdir()
    monkeypatch.setattr("helioimages.pypi.index._FRESH", -1)
    return Channels(tmp_path / "world", package_index), folder, url


def test_three_channels_one_behind_a_login(made):
    world, _, url = made
    world.asks("main", f"{url}/extra", "closed", conda=("tool",))
    lock = world.lock_it()
    assert lock.channels == ("main", "extra", "closed")
    assert found(lock) == {
        "libz": ("1.3", "main"),  # strict: not the newer one of a later channel
        "python": ("3.13.5", "main"),
        "secretive": ("1.0", "closed"),
        "tool": ("1.0", "extra"),
    }
    text = (world.root / "environments/e/conda-lock.yml").read_text()
    assert "127.0.0.1" not in text and "secret" not in text.replace("secretive", "")
    assert len(world.fetch(lock)) == 4
    before = world.texts()
    world.lock_it()
    assert world.texts() == before


def move(folder: Path, channel: str, base_url: str, to: str) -> None:
    """Put a channel's packages of linux-64 elsewhere, and have its index say where. Spec: CEP 15."""
    index = folder / channel / "linux-64/repodata.json"
    document = json.loads(index.read_text())
    (folder / to).mkdir(parents=True, exist_ok=True)
    for file in document["packages.conda"]:
        (folder / channel / "linux-64" / file).rename(folder / to / file)
    document["info"]["base_url"], document["repodata_version"] = base_url, 2
    index.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("base_url", "to", "at"),
    [
        ("../pool/", "main/pool", "../pool/"),
        ("pool", "main/linux-64/pool", "pool/"),
        ("../../elsewhere/linux-64/", "elsewhere/linux-64", "../../elsewhere/linux-64/"),
        ("/elsewhere/", "elsewhere", "../../elsewhere/"),
        ("{url}/elsewhere/", "elsewhere", "../../elsewhere/"),
        ("./", "main/linux-64", ""),
    ],
)
@pytest.mark.parametrize("way", ["address", "folder"])
def test_packages_beside_their_channel_are_found_and_the_lock_has_no_host(made, base_url, to, at, way):
    world, folder, url = made
    move(folder, "main", base_url.format(url=url), to)
    world.asks("main")
    if way == "folder" and base_url.startswith(("/", "{")):
        pytest.skip("an absolute place is another one where a channel is a folder")
    given = (Path(f"main={folder / 'main'}"),) if way == "folder" else ()
    lock = world.lock_it(*given)
    text = (world.root / "environments/e/conda-lock.yml").read_text()
    assert "127.0.0.1" not in text and str(folder) not in text
    assert {one.url for one in lock.packages} == {f"main/linux-64/{one.file_name}" for one in lock.packages}
    assert {one.at for one in lock.packages} == {at and at + one.file_name for one in lock.packages}
    assert len(world.fetch(lock)) == 2
    world.lock_it(*given, check=True)


def test_packages_on_another_host_have_their_address(made):
    """Where it does not end as conda-lock wants addresses, it stands beside the record."""
    world, folder, url = made
    other = url.replace("127.0.0.1", "localhost")
    move(folder, "main", f"{other}/elsewhere/", "elsewhere")
    world.asks("main")
    lock = world.lock_it()
    assert {one.at for one in lock.packages} == {f"{other}/elsewhere/{one.file_name}" for one in lock.packages}
    assert len(world.fetch(lock)) == 2


@pytest.mark.parametrize("way", ["netrc", "token", "address", "token in the address"])
def test_every_way_of_a_login_opens_a_channel_and_stays_out_of_the_lock(made, tmp_path, way):
    world, _, url = made
    home, host = tmp_path / "home", url.removeprefix("http://")
    logins = {"127.0.0.1": {"CondaToken": "tk-1"}} if way == "token" else {}
    (home / ".rattler/credentials.json").write_text(json.dumps(logins))
    if way == "netrc":
        (home / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
        (home / ".netrc").chmod(0o600)
    alias = {"address": f"http://me:secret@{host}", "token in the address": f"{url}/t/tk-1"}.get(way, url)
    (home / ".condarc").write_text(f"channel_alias: {alias}\n")
    world.asks("main", "closed", conda=("secretive",))
    lock = world.lock_it()
    assert found(lock)["secretive"] == ("1.0", "closed")
    assert len(world.fetch(lock)) == 3
    text = (world.root / "environments/e/conda-lock.yml").read_text()
    assert "tk-1" not in text and "me:" not in text.replace("name:", "").replace("time:", "") and host not in text


BEARER = {"BearerToken": "tk-2"}


@pytest.mark.parametrize(
    "login",
    [{"BasicHTTP": {"username": "me", "password": "secret"}}, BEARER, {"CondaToken": "tk-1"}],
    ids=["Basic", "Bearer", "token"],
)
@pytest.mark.parametrize(
    "by_host", [{}, {"127.0.0.1": {"BearerToken": "of-another-port"}}], ids=["alone", "and host's"]
)
def test_a_login_of_a_host_and_port_opens_a_channel(made, tmp_path, login, by_host):
    """rattler looks up hosts alone, and what fetches packages the port first: both must find it."""
    world, _, url = made
    logins = {**by_host, url.removeprefix("http://"): login}
    (tmp_path / "home/.rattler/credentials.json").write_text(json.dumps(logins))
    world.asks("main", "closed", conda=("secretive",))
    lock = world.lock_it()
    assert found(lock)["secretive"] == ("1.0", "closed")
    assert len(world.fetch(lock)) == 3
    text = (world.root / "environments/e/conda-lock.yml").read_text()
    assert "tk-" not in text and "me:" not in text.replace("name:", "").replace("time:", "") and url not in text


def test_a_login_of_a_port_is_not_sent_to_another_port(made, tmp_path):
    world, folder, url = made
    asked = []

    class Other(Served):
        def do_GET(self):
            asked.append(self.headers.get("Authorization"))
            super().do_GET()

        do_HEAD = do_GET

    other = ThreadingHTTPServer(("127.0.0.1", 0), partial(Other, directory=str(folder)))
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        (tmp_path / "home/.rattler/credentials.json").write_text(json.dumps({url.removeprefix("http://"): BEARER}))
        there = f"http://127.0.0.1:{other.server_port}"
        with (tmp_path / "home/.condarc").open("a") as file:
            file.write(f"custom_channels: {{extra: '{there}'}}\n")
        world.asks("main", "closed", "extra", conda=("secretive", "tool"))
        assert found(world.lock_it())["tool"] == ("1.0", "extra")
        assert asked and set(asked) == {None}
        # The same path at two ports of one host: rattler does not say which one it asks.
        world.asks("main", f"{there}/main", conda=())
        with pytest.raises(HelioError, match="another port of this host has the same path and another login"):
            world.lock_it()
        assert set(asked) == {None}
    finally:
        other.shutdown()
        other.server_close()


def test_a_spec_names_its_channel(made):
    world, _, url = made
    world.asks("main", "extra", conda=("extra::libz",))
    assert found(world.lock_it()) == {"python": ("3.13.5", "main"), "libz": ("2.0", "extra")}
    world.asks("main", "extra", conda=(f"{url}/extra/linux-64::libz=2.*",))
    assert found(world.lock_it())["libz"] == ("2.0", "extra")
    world.asks("main", conda=("extra::libz",))
    with pytest.raises(HelioError, match=r"asks for the channel `extra`, which is none of the environment's: main"):
        world.lock_it()


def test_local_is_one_of_several(made):
    world, folder, _ = made
    world.asks("local", "extra", "nodefaults", conda=("extra::libz",))
    shutil.rmtree(world.channel)
    shutil.copytree(folder / "main", world.channel)
    (folder / "main").rename(folder / "gone")
    lock = world.lock_it(world.channel)
    assert {one.name: one.channel for one in lock.packages} == {"python": "local", "libz": "extra"}
    assert {one.url for one in lock.packages} == {
        "local/linux-64/python-3.13.5-h0_0.conda",
        "extra/linux-64/libz-2.0-h0_0.conda",
    }


def test_folders_stand_for_channels(made):
    world, folder, _ = made
    world.asks("offline", "main", conda=("libz",))
    lock = world.lock_it(Path(f"offline={folder / 'extra'}"))
    assert found(lock) == {"python": ("3.13.5", "main"), "libz": ("2.0", "offline")}
    with pytest.raises(HelioError, match=r"is not the folder of a channel"):
        world.lock_it(Path(f"offline={folder}"))


def test_mirrors_are_asked_in_order(made, tmp_path):
    world, _, url = made
    world.asks("far", conda=("libz",))
    (tmp_path / "home/.condarc").write_text(f"mirrored_channels:\n  far: [{url}/none, {url}/main]\n")
    lock = world.lock_it()
    assert lock.packages[0].url == "far/linux-64/libz-1.3-h0_0.conda"
    assert found(lock) == {"python": ("3.13.5", "far"), "libz": ("1.3", "far")}
    assert len(world.fetch(lock)) == 2


def test_compressed_records_are_enough(made):
    world, folder, _ = made
    for subdir in ("linux-64", "noarch"):
        plain = folder / "main" / subdir / "repodata.json"
        plain.with_name("repodata.json.zst").write_bytes(zstandard.compress(plain.read_bytes()))
        plain.unlink()
    world.asks("main")
    assert len(world.lock_it().packages) == 2


def cut(folder):
    path = folder / "main/linux-64/repodata.json"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("channel", "spoil", "says"),
    [
        ("closed", lambda folder: None, "it wants a login"),
        ("denied", lambda folder: None, "it refuses this login"),
        ("nowhere", lambda folder: None, "it has no index there"),
        ("main", cut, "its index is damaged or cut"),
        ("main", lambda folder: shutil.rmtree(folder / "main/noarch"), "it has no index there"),
    ],
)
def test_a_channel_that_cannot_be_read_is_named_with_a_way_out(made, tmp_path, channel, spoil, says):
    world, folder, _ = made
    (tmp_path / "home/.rattler/credentials.json").write_text("{}")
    spoil(folder)
    world.asks(channel, conda=("libz",))
    with pytest.raises(HelioError) as caught:
        world.lock_it()
    error = str(caught.value)
    assert f"cannot read the conda channel `{channel}`" in error and says in error
    assert "environments/e/environment.yml at channels" in error and "--channel-dir NAME=FOLDER" in error


def test_strict_priority_is_said_where_it_hides_a_package(made):
    world, _, _ = made
    world.asks("main", "extra", conda=("libz>=2",))
    with pytest.raises(HelioError, match=r"change the order of channels"):
        world.lock_it()


@pytest.mark.parametrize("deleted", [True, False])
def test_a_package_that_is_gone_or_another_is_not_taken(made, deleted):
    world, folder, _ = made
    world.asks("main", conda=("libz",))
    lock = world.lock_it()
    path = folder / "main/linux-64/libz-1.3-h0_0.conda"
    if deleted:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(HelioError) as caught:
        world.fetch(lock)
    assert ("404" if deleted else "digest mismatch") in str(caught.value)
    assert "package[0]" in str(caught.value) and "buildimages lock --update libz" in caught.value.hint


@pytest.mark.parametrize("way", ["file", "address"])
def test_netrc_does_not_stand_for_a_login_that_is_given(made, tmp_path, monkeypatch, way):
    """rattler asks netrc last; requests would ask it first."""
    world, folder, url = made
    add(folder / "closed", "gdal", "3.9", "libz")
    world.asks("main", "closed", conda=("closed::gdal",))
    home = tmp_path / "home"
    if way == "address":
        (home / ".rattler/credentials.json").write_text("{}")
        given = url.replace("://", "://me:secret@")
        with (home / ".condarc").open("a") as file:
            file.write(f"custom_channels: {{closed: '{given}'}}\n")
    lock = world.lock_it()
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password of-another-time\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert len(world.fetch(lock)) == len(lock.packages)


def test_a_mirror_with_another_file_is_passed_over(made, tmp_path):
    world, folder, url = made
    world.asks("main")
    lock = world.lock_it()
    for path in (folder / "main").glob("*/*.conda"):
        copy = folder / "stale" / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes()[:-1] + b"x")
    with (tmp_path / "home/.condarc").open("a") as file:
        file.write(f"mirrored_channels: {{main: ['{url}/stale', '{url}/main']}}\n")
    assert len(world.fetch(lock)) == len(lock.packages)


def test_packages_that_need_a_script_are_refused_while_locking(made):
    """The index does not say which ones do: their own lists are read."""
    world, folder, _ = made
    add(folder / "main", "tool", "1.0", file="bin/.tool-post-link.sh")
    add(folder / "extra", "gdal", "3.9", file="bin/.gdal-pre-link.sh")
    tool, gdal = (hashlib.sha256(text).hexdigest() for text in (b"main tool", b"extra gdal"))
    world.asks("main", "extra", conda=("tool", "gdal"))
    with pytest.raises(HelioError) as caught:
        world.lock_it()
    assert caught.value.detail == (
        f"gdal-3.9-h0_0.conda: pre-link (bin/.gdal-pre-link.sh, sha256:{gdal})\n"
        f"tool-1.0-h0_0.conda: post-link (bin/.tool-post-link.sh, sha256:{tool})"
    )
    assert not (world.root / "environments/e/conda-lock.yml").exists()
    reviewed = [
        {"package": name, "sha256": digest, "reason": "it prints a word"}
        for name, digest in (("tool", tool), ("gdal", gdal))
    ]
    world.asks("main", "extra", conda=("tool", "gdal"), link_scripts=reviewed)
    lock = world.lock_it()
    assert lock.scripts == {"linux-64": {"tool": (tool,), "gdal": (gdal,)}}
    world.lock_it(check=True)
    world.asks("main", "extra", conda=("tool",), link_scripts=reviewed)
    with pytest.raises(HelioError, match="`gdal` is not a locked conda package"):
        world.lock_it()


def test_reviewed_scripts_that_are_to_run_are_run_while_locking(made):
    world, folder, _ = made
    add(folder / "main", "tool", "1.0", file="bin/.tool-post-link.sh")
    add(folder / "main", "quiet", "1.0", file="bin/.quiet-post-link.sh")
    reviewed = [
        {"package": name, "sha256": hashlib.sha256(text).hexdigest(), "reason": "fonts", "run": run}
        for name, text, run in (("tool", b"main tool", True), ("quiet", b"main quiet", False))
    ]
    world.asks("main", conda=("tool", "quiet"), link_scripts=reviewed)
    with pytest.raises(HelioError) as caught:
        world.lock_it()
    assert caught.value.message == "post-link scripts cannot be run here: tool"
    assert caught.value.where == "environments/e/environment.yml at x-helioimages.link-scripts"
    asked = []

    def run(lock, files, names):
        asked.append(([package.name for package in lock.packages if package.sha256 in files], names))
        return dict.fromkeys(names, "f" * 64)

    lock = world.lock_it(run_scripts=run)
    assert lock.ran == {"linux-64": {"tool": "f" * 64}}
    assert asked == [([package.name for package in lock.packages], ["tool"])]
    world.lock_it(check=True)
    # What runs before its package is linked is not run.
    add(folder / "main", "early", "1.0", file="bin/.early-pre-link.sh")
    early = {"package": "early", "sha256": hashlib.sha256(b"main early").hexdigest(), "reason": "a word", "run": True}
    world.asks("main", conda=("tool", "quiet", "early"), link_scripts=[*reviewed, early])
    with pytest.raises(HelioError, match="the pre-link script of `early` cannot be run") as caught:
        world.lock_it(run_scripts=run)
    assert caught.value.where == "environments/e/environment.yml at x-helioimages.link-scripts[2].run"
    # Whether it runs is part of the question.
    world.asks("main", conda=("tool", "quiet"), link_scripts=[one | {"run": False} for one in reviewed])
    with pytest.raises(HelioError, match="a lock is stale"):
        world.lock_it(check=True)
    assert world.lock_it().ran == {}


def test_packages_that_take_a_path_from_each_other_are_locked_with_who_wins(made, capsys):
    world, folder, _ = made
    add(folder / "main", "a", "1.0", file="etc/x")
    add(folder / "extra", "b", "1.0", "a", file="etc/x")
    world.asks("main", "extra", conda=("a", "b"))
    assert world.lock_it().clobbers == {"linux-64": {"etc/x": "b over a"}}
    assert "warning: b wins a path over a, as rattler installs: etc/x" in capsys.readouterr().err


def test_without_priority_the_best_of_all_channels_is_taken(made):
    world, _, _ = made
    world.asks("main", "extra", conda=("libz",))
    assert found(world.lock_it())["libz"] == ("1.3", "main")
    # Another question: the lock is made anew, and as before what it has is kept where it answers.
    world.asks("main", "extra", conda=("libz",), channel_priority="disabled")
    with pytest.raises(HelioError, match="is not of the present"):
        world.lock_it(check=True)
    assert found(world.lock_it(update=("libz",)))["libz"] == ("2.0", "extra")
    world.asks("main", "extra", conda=("libz>=2",), channel_priority="disabled")
    assert found(world.lock_it())["libz"] == ("2.0", "extra")


def test_a_name_that_no_channel_has_is_told_with_one_that_is_like_it(made):
    world, _, _ = made
    world.asks("main", "extra", conda=("libzz", "nowhere=1"))
    with pytest.raises(HelioError) as caught:
        world.lock_it()
    assert caught.value.hint == (
        "no channel has `libzz` (did you mean `libz`?), `nowhere`: check the names, add their channels, "
        "or move them to the pip list"
    )
    world.asks("local", conda=("numpy",))
    with pytest.raises(HelioError) as caught:
        world.lock_it(world.channel)
    assert caught.value.hint == "no channel has `numpy`: check the name, add its channel, or move it to the pip list"
