"""Channels behind a login: every way of giving one opens them, and none gets into a lock or to another host."""

from __future__ import annotations

import json

import pytest
from channel_support import Served, add, listening, versions

from helioimages.core.errors import HelioError

BEARER = {"BearerToken": "tk-2"}


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
    assert versions(lock)["secretive"] == ("1.0", "closed")
    assert len(world.fetch(lock)) == 3
    text = (world.root / "environments/e/conda-lock.yml").read_text()
    assert "tk-1" not in text and "me:" not in text.replace("name:", "").replace("time:", "") and host not in text


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
    assert versions(lock)["secretive"] == ("1.0", "closed")
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

    with listening(folder, Other) as there:
        (tmp_path / "home/.rattler/credentials.json").write_text(json.dumps({url.removeprefix("http://"): BEARER}))
        with (tmp_path / "home/.condarc").open("a") as file:
            file.write(f"custom_channels: {{extra: '{there}'}}\n")
        world.asks("main", "closed", "extra", conda=("secretive", "tool"))
        assert versions(world.lock_it())["tool"] == ("1.0", "extra")
        assert asked and set(asked) == {None}
        # The same path at two ports of one host: rattler does not say which one it asks.
        world.asks("main", f"{there}/main", conda=())
        with pytest.raises(HelioError, match="another port of this host has the same path and another login"):
            world.lock_it()
        assert set(asked) == {None}


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
