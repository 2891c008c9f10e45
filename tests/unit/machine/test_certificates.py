"""A company whose proxy reads HTTPS: what one program was told to believe, every program of ours believes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from company import Company, company
from faulty_registry import FaultyRegistry
from pypi_support import ALONE, PLACES, serving, wheel_bytes

from helioimages.conda.channels import ChannelPlaces as CondaPlaces
from helioimages.conda.solve import CondaQuestion
from helioimages.conda.solve_channels import Channels, solve_channels
from helioimages.core.errors import HelioError
from helioimages.core.platform import FIRST
from helioimages.machine import bootstrap, certificates, fetch
from helioimages.machine.store import Store
from helioimages.oci.registry import Registry
from helioimages.pypi import resolve
from helioimages.pypi.index import PackageIndex

NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"])
def test_whichever_variable_is_set_holds_for_all(name, tmp_path):
    file = tmp_path / "company.pem"
    file.touch()
    environ = {name: str(file)}
    added = certificates.settings(environ | ALONE)
    together = environ | added
    assert {together[name] for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")} == {str(file)}
    assert name not in added


def test_what_is_set_is_not_changed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).touch()
    environ = {"SSL_CERT_FILE": str(tmp_path / "a"), "REQUESTS_CA_BUNDLE": str(tmp_path / "b")}
    assert certificates.settings(environ) == {"NODE_EXTRA_CA_CERTS": str(tmp_path / "a")}


def test_node_s_one_authority_more_is_not_all(tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "SYSTEM_CERTIFICATES", (str(tmp_path / "system"),))
    (tmp_path / "system").touch()
    added = certificates.settings({"NODE_EXTRA_CA_CERTS": str(tmp_path / "more")} | ALONE)
    assert added == {"SSL_CERT_FILE": str(tmp_path / "system"), "REQUESTS_CA_BUNDLE": str(tmp_path / "system")}


def test_pip_s_own_setting_holds_too(tmp_path):
    (tmp_path / "company.pem").touch()
    (tmp_path / "pip.conf").write_text(f"[global]\ncert = {tmp_path}/company.pem\n")
    added = certificates.settings({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})
    assert set(added.values()) == {f"{tmp_path}/company.pem"}
    (tmp_path / "pip.conf").write_text("not = a section\n")
    assert certificates.settings({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}) == certificates.settings(ALONE)


def test_a_folder_is_for_those_who_read_folders(tmp_path):
    assert certificates.settings({"REQUESTS_CA_BUNDLE": str(tmp_path)}) == {"SSL_CERT_DIR": str(tmp_path)}


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(HelioError) as told:
        certificates.settings({"CURL_CA_BUNDLE": f"{tmp_path}/company.pem"})
    assert (told.value.where, f"{tmp_path}/company.pem" in told.value.detail) == ("CURL_CA_BUNDLE", True)


def test_a_system_without_any_changes_nothing(monkeypatch):
    monkeypatch.setattr(certificates, "SYSTEM_CERTIFICATES", ())
    assert certificates.settings(dict(ALONE)) == {}


def test_the_environment_is_as_before_afterwards(tmp_path, monkeypatch):
    (tmp_path / "company.pem").touch()
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "company.pem"))
    before = dict(os.environ)
    with certificates.believed():
        assert os.environ["REQUESTS_CA_BUNDLE"] == str(tmp_path / "company.pem")
    assert dict(os.environ) == before


def demo() -> bytes:
    return wheel_bytes({"demo.py": b"x = 1\n"})


@contextlib.contextmanager
def files(folder: Path):
    """Serve a folder on loopback and yield ``127.0.0.1:port``."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def registry():
    with contextlib.closing(FaultyRegistry()) as state:
        yield state.host


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Stand in the company's network: its proxy is set, its authority is not believed yet."""
    served = tmp_path / "served"
    (served / "channel" / "noarch").mkdir(parents=True)
    (served / "channel" / "linux-64").mkdir()
    for subdir in ("noarch", "linux-64"):
        document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": {}, "repodata_version": 1}
        (served / "channel" / subdir / "repodata.json").write_text(json.dumps(document))
    (served / "file").write_bytes(b"of the company")
    with serving() as index, files(served) as place, registry() as images:
        index.add("demo-1.0-py3-none-any.whl", demo())
        servers = {
            "index.company.test": index.url.split("/")[2],
            "files.company.test": place,
            "images.company.test": images,
        }
        with company(tmp_path, servers) as here:
            for name in (*NAMES, *PLACES):
                monkeypatch.delenv(name, raising=False)
            for name, value in (here.variables() | ALONE | {"UV_CACHE_DIR": str(tmp_path / "uv")}).items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("UV_DEFAULT_INDEX", "https://index.company.test/simple")
            monkeypatch.setenv("PIP_INDEX_URL", "https://index.company.test/simple")
            yield here


def fetched(tmp_path: Path) -> bytes:
    wanted = fetch.WantedFile(
        name="file",
        sha256=hashlib.sha256(b"of the company").hexdigest(),
        size=14,
        where="lock",
        urls=lambda: ("https://files.company.test/file",),
    )
    (path,) = fetch.fetch_all([wanted], Store(tmp_path / "store")).values()
    return path.read_bytes()


def locked(tmp_path: Path) -> str:
    request = resolve.Request(
        where="environment.yml", requirements=("demo",), python="3.13.5", platform=FIRST, glibc=(2, 41)
    )
    index = PackageIndex(resolve.places(), tmp_path / "index")
    return resolve.resolve(request, index.sizes).wheels[0].file_name


def solved(tmp_path: Path) -> tuple[object, ...]:
    channel = "https://files.company.test/channel"
    question = CondaQuestion(specs=(), platform="linux-64", virtual_packages={}, where="environment.yml")
    channels = Channels(names=(channel,), strict=True, folders={}, places=CondaPlaces(), cache=tmp_path / "conda")
    return solve_channels(question, channels)[0]


def answered(_tmp_path: Path) -> str:
    with Registry("images.company.test") as client:
        return client.ping()


WAYS = [
    (fetched, b"of the company", "files"),
    (locked, "demo-1.0-py3-none-any.whl", "index"),
    (solved, (), "files"),
    (answered, "https://images.company.test", "images"),
]


@pytest.mark.parametrize(("way", "expected", "host"), WAYS, ids=lambda value: getattr(value, "__name__", ""))
def test_through_the_company_s_proxy(site: Company, tmp_path, monkeypatch, way, expected, host):
    # Its name for requests alone: uv and rattler do not read that one.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(site.authority))
    with certificates.believed():
        assert way(tmp_path) == expected
    assert set(site.asked) == {f"{host}.company.test"}


@pytest.mark.parametrize(("way", "host"), [(way, host) for way, _, host in WAYS], ids=lambda value: str(value)[:20])
def test_who_does_not_know_the_authority_is_told_so_at_once(site: Company, tmp_path, way, host):
    with certificates.believed(), pytest.raises(HelioError) as told:
        way(tmp_path)
    text = f"{told.value.detail} {told.value.hint}".lower()
    assert "ssl_cert_file" in text
    if way in (fetched, answered):
        # Another try would not change it; uv and rattler try again by themselves.
        assert site.asked == [f"{host}.company.test"]


def test_the_first_run_of_a_fresh_clone(site: Company, tmp_path):
    """pip makes the tool's environment before anything of ours can be imported."""
    program = tmp_path / "clone" / "tools" / "helioimages" / "machine" / "bootstrap.py"
    program.parent.mkdir(parents=True)
    program.write_bytes(Path(bootstrap.__file__).read_bytes())
    lock = tmp_path / "clone" / "requirements.lock"
    digest = hashlib.sha256(demo()).hexdigest()
    lock.write_text(f"demo==1.0 --hash=sha256:{digest}\n")
    environ = os.environ | {"HELIOIMAGES_STORE": str(tmp_path / "store"), "SSL_CERT_FILE": str(site.authority)}
    done = subprocess.run([sys.executable, program, lock], capture_output=True, text=True, env=environ, timeout=120)
    assert done.returncode == 0, done.stderr
    said = subprocess.run([done.stdout.strip(), "-c", "import demo; print(demo.x)"], capture_output=True, text=True)
    assert said.stdout == "1\n"
