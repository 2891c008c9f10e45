"""Where the Debian mirror is, and which packages it dropped: a server on loopback stands for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from helioimages.core.errors import HelioError
from helioimages.debian.lock import Deb
from helioimages.locks import mirror as debian_mirror
from helioimages.locks.mirror import (
    mirror_urls,
    mirrors,
    missing,
    read_default,
    read_targets,
    snapshot,
    source_urls,
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch) -> Iterator[None]:
    """Forget the mirrors of earlier tests, and of this machine."""
    for name in ("MIRROR", "SNAPSHOT"):
        monkeypatch.delenv(f"HELIOIMAGES_DEBIAN_{name}", raising=False)
    monkeypatch.setattr(debian_mirror, "_output", lambda argv: "")
    monkeypatch.setattr(debian_mirror.shutil, "which", lambda name: None)
    debian_mirror.of_this_machine.cache_clear()
    yield
    debian_mirror.of_this_machine.cache_clear()


def deb(name: str, archive: str = "debian") -> Deb:
    file_name = f"pool/main/{name[0]}/{name}/{name}_1_amd64.deb"
    return Deb(
        name=name, version="1", architecture="amd64", file_name=file_name, archive=archive, sha256="0" * 64, size=1
    )


def rows(*lines: str) -> str:
    return "".join(line.replace(" | ", "\t") + "\n" for line in lines)


def test_sources_that_apt_has_read_are_known_by_who_signed_them():
    text = rows(
        "https://apt.example/linux/debian | trixie | stable | Docker | Docker CE",
        "http://pi.example/debian/ | trixie | main | Raspberry Pi Foundation | Raspberry Pi Foundation",
        "http://one.example/mirrors/deb/ | trixie | main | Debian | Debian",
        "http://two.example/debian/ | trixie-updates | main | Debian | Debian",
        "http://one.example/sec/ | trixie-security | main | Debian | Debian-Security",
        "http://back.example/debian | trixie-backports | main | Debian Backports | Debian Backports",
    )
    assert read_targets(text) == {
        "debian": "http://one.example/mirrors/deb",
        "debian-security": "http://one.example/sec",
    }


def test_sources_that_apt_has_not_read_yet_are_known_by_address_suite_and_component():
    unread = "$(ORIGIN) | $(LABEL)"
    text = rows(
        f"https://apt.example/linux/debian | trixie | stable | {unread}",
        f"http://sql.example/pub/repos/apt | trixie-pgdg | main | {unread}",
        f"http://u.example/ubuntu | noble | main | {unread}",
        f"cdrom://Debian/debian | trixie | main | {unread}",
        f"http://one.example/debian/ | trixie | main | {unread}",
        f"http://one.example/debian-security/ | trixie-security | main | {unread}",
    )
    assert read_targets(text) == {
        "debian": "http://one.example/debian",
        "debian-security": "http://one.example/debian-security",
    }


def test_lines_that_are_not_index_targets_are_passed_over():
    assert read_targets("E: something\n\n") == {}


def test_the_default_is_what_mmdebstrap_assigns_not_what_its_manual_mentions():
    text = (
        "  # see https://salsa.example/debian/schroot\n"
        "    my $mirror    = 'http://d.example/debian';\n"
        "    my $secmirror = 'http://s.example/debian-security';\n"
        "    $ mmdebstrap stable out.tar http://other.example/debian\n"
    )
    assert read_default(text) == {
        "debian": "http://d.example/debian",
        "debian-security": "http://s.example/debian-security",
    }


def test_the_environment_wins_and_its_sibling_has_the_security_updates(monkeypatch):
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", "http://here.example/debian/")
    assert mirrors() == {
        "debian": "http://here.example/debian",
        "debian-security": "http://here.example/debian-security",
    }
    assert mirror_urls(deb("bash", "debian-security")) == (
        "http://here.example/debian-security/pool/main/b/bash/bash_1_amd64.deb",
    )
    assert source_urls("pool/main/p/python3.13", "x.tar.xz") == (
        "http://here.example/debian/pool/main/p/python3.13/x.tar.xz",
        "http://here.example/debian-security/pool/main/p/python3.13/x.tar.xz",
    )


def test_another_mirror_is_asked_as_soon_as_it_is_named(monkeypatch):
    """A process that asked one before, as a server or a run of tests has, does not go on with it."""
    for name in ("first", "second"):
        monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", f"http://{name}.example/debian")
        assert mirrors()["debian"] == f"http://{name}.example/debian"


def test_the_machines_own_sources_come_before_mmdebstraps_default(monkeypatch, tmp_path):
    program = tmp_path / "mmdebstrap"
    program.write_text("my $mirror = 'http://default.example/debian';\n")
    monkeypatch.setattr(debian_mirror.shutil, "which", lambda name: str(program))
    assert mirrors()["debian"] == "http://default.example/debian"
    debian_mirror.of_this_machine.cache_clear()
    host = rows("http://host.example/debian | trixie | main | Debian | Debian")
    monkeypatch.setattr(debian_mirror, "_output", lambda argv: host)
    assert mirrors() == {
        "debian": "http://host.example/debian",
        "debian-security": "http://host.example/debian-security",
    }


def test_a_machine_without_any_mirror_is_told_what_to_set():
    with pytest.raises(HelioError) as caught:
        mirrors()
    assert str(caught.value) == (
        "no Debian mirror is configured\n"
        "  looked at HELIOIMAGES_DEBIAN_MIRROR, the apt sources of this machine, and mmdebstrap's default\n\n"
        "hint: set HELIOIMAGES_DEBIAN_MIRROR to the address of one, ending in /debian"
    )


@pytest.mark.parametrize(
    ("given", "security"),
    [
        (
            "http://s.example/archive/debian/20261119T000000Z/",
            "http://s.example/archive/debian-security/20261119T000000Z",
        ),
        ("http://s.example/then/debian", "http://s.example/then/debian-security"),
        ("http://s.example/then", "http://s.example/then-security"),
        ("http://s.example/debian-archive/x/y", "http://s.example/debian-archive/x/y-security"),
    ],
)
def test_a_snapshot_is_asked_after_the_mirror(monkeypatch, given, security):
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", "http://here.example/debian")
    assert snapshot() == {}
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_SNAPSHOT", given)
    assert snapshot() == {"debian": given.rstrip("/"), "debian-security": security}
    assert mirror_urls(deb("bash", "debian-security")) == (
        "http://here.example/debian-security/pool/main/b/bash/bash_1_amd64.deb",
        f"{security}/pool/main/b/bash/bash_1_amd64.deb",
    )
    assert source_urls("pool/main/p/python3.13", "x.tar.xz")[2:] == (
        f"{given.rstrip('/')}/pool/main/p/python3.13/x.tar.xz",
        f"{security}/pool/main/p/python3.13/x.tar.xz",
    )


@pytest.fixture
def mirror(monkeypatch) -> Iterator[dict[str, int]]:
    """Serve a mirror on loopback; the dictionary says which answer a path's last part gets (else 200)."""
    answers: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(answers.get(self.path.rpartition("/")[2], 200))
            self.end_headers()

        def log_message(self, *arguments) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", f"http://127.0.0.1:{server.server_port}/debian")
    yield answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_the_mirror_dropped_is_missing_in_the_locks_order(mirror):
    mirror |= {"curl_1_amd64.deb": 404, "aaa_1_amd64.deb": 410}
    debs = [deb(name) for name in ("bash", "curl", "zlib1g", "aaa")]
    assert [package.name for package in missing(debs, jobs=2)] == ["curl", "aaa"]
    assert missing([deb("bash")]) == ()


def test_a_mirror_that_answers_neither_yes_nor_no_is_an_error_not_a_loss(mirror):
    mirror["curl_1_amd64.deb"] = 503
    with pytest.raises(HelioError) as caught:
        missing([deb("bash"), deb("curl")])
    assert str(caught.value) == (
        "cannot ask the mirror for `curl`\n"
        "  expected 200 or 404 not 503 for pool/main/c/curl/curl_1_amd64.deb\n\n"
        "hint: try again, or name another mirror in HELIOIMAGES_DEBIAN_MIRROR"
    )


def test_a_mirror_on_this_machines_disk_is_asked_too(monkeypatch, tmp_path):
    there = tmp_path / "debian" / deb("bash").file_name
    there.parent.mkdir(parents=True)
    there.touch()
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", f"file://{tmp_path}/debian")
    assert missing([deb("bash"), deb("curl")]) == (deb("curl"),)
