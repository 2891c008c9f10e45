"""The bare machine's pure parts: arguments, the README's commands, settings that are carried, networks, mounts."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from barekit import carried, network, readme, space, tree

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture
def script() -> ModuleType:
    """Import the script; it does nothing by that."""
    spec = importlib.util.spec_from_file_location("bare_machine", ROOT / "tests" / "bare_machine.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_readme_has_the_two_commands():
    assert readme.commands(README) == ("python3 tools/buildimages.py up", "tests/run")


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{readme.MARK}\n```sh\na up\n```\n",
        f"{readme.MARK}\n```sh\ntests/run\n```\n\n{readme.MARK}\n```sh\na up\n```\n",
        f"{readme.MARK}\n```sh\na up\n```\n\n{readme.MARK}\n\n```sh\ntests/run\n```\n{readme.MARK}\n```sh\nb\n```\n",
        "<!-- run: by another -->\n```sh\na up\n```\n<!-- run: by .ci/run -->\n```sh\ntests/run\n```\n",
    ],
)
def test_a_readme_with_other_commands_is_refused(text):
    with pytest.raises(ValueError, match=r"expected `… up` and `tests/run` below"):
        readme.commands(text)


def test_by_default_debian_13_runs_both_commands_as_they_stand(script):
    asked = script.arguments([])
    assert (asked.system, asked.images, asked.user, asked.keep, asked.artefacts) == ("debian13", (), False, False, None)
    rows = script.stages(asked, README)
    assert [(row["command"], row["quiet"]) for row in rows] == [
        ("python3 tools/buildimages.py up", False),
        ("python3 tools/buildimages.py build --json", True),
        ("tests/run", False),
        ("python3 tools/buildimages.py down", False),
    ]


def test_it_can_be_limited(script):
    asked = script.arguments(["debian12", "--user", "--images", "base", "helio", "--skip-tests"])
    assert (asked.system, asked.user) == ("debian12", True)
    rows = script.stages(asked, README)
    assert [row["command"].removeprefix("python3 tools/buildimages.py ") for row in rows] == [
        "up base helio",
        "build --json base helio",
        "down",
    ]


def test_what_tests_need_is_installed_before_them_if_asked_for(script):
    rows = script.stages(script.arguments(["--also", "a b", "--skip-tests", "--also", "c"]), README)
    assert [row["command"] for row in rows[-3:]] == ["python3 tools/buildimages.py down", "a b", "c"]
    rows = script.stages(script.arguments(["--needs"]), README)
    assert [row["command"] for row in rows][2:4] == ["tests/needs", "tests/run"]
    assert (ROOT / script.NEEDS).stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["debian11"], "invalid choice: 'debian11'"),
        (["--images"], "expected at least one argument"),
        (["--artefacts", "/nonexistent"], "/nonexistent is not a store: it has no artefacts"),
    ],
)
def test_wrong_arguments_are_refused(script, capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        script.arguments(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_report_has_seconds_digests_and_what_was_installed(script):
    digests = json.dumps({"base": {"digest": "sha256:00"}, "helio": {"digest": "sha256:11"}})
    stages = [
        {"name": "up", "seconds": 61.5, "code": 0},
        {"name": "build --json", "seconds": 2.0, "code": 0, "output": digests},
        {"name": "tests/run", "seconds": 1000.0, "code": 1},
    ]
    assert script.report({"stages": stages, "installed": ["docker.io 26.1", "uidmap 4.17"]}).splitlines() == [
        "",
        "seconds  exit  command",
        "   61.5     0  up",
        "    2.0     0  build --json",
        " 1000.0     1  tests/run",
        "base: sha256:00",
        "helio: sha256:11",
        "installed: 2 packages",
        "  docker.io 26.1",
        "  uidmap 4.17",
    ]


def test_the_report_of_a_digest_that_could_not_be_had(script):
    stages = [{"name": "build --json", "seconds": 2.0, "code": 9, "output": '{"error": '}]
    assert "    2.0     9  build --json" in script.report({"stages": stages, "installed": []})


def test_variables_of_package_clients_are_carried_and_no_others():
    there = {
        "https_proxy": "a",
        "HTTPS_PROXY": "a",
        "NO_PROXY": "b",
        "PIP_INDEX_URL": "c",
        "UV_DEFAULT_INDEX": "d",
        "SSL_CERT_FILE": "e",
        "HELIOIMAGES_DEBIAN_MIRROR": "f",
    }
    left = ("PATH", "PIP_CACHE_DIR", "PIP_CONFIG_FILE", "UV_CACHE_DIR", "UV_PYTHON", "AWS_SECRET_ACCESS_KEY", "HOME")
    assert carried.variables({**there, **dict.fromkeys(left, "x"), "HELIOIMAGES_STORE": "x"}) == there


def test_sources_are_those_of_the_release_at_this_machines_mirrors():
    mirrors = {"debian": "http://a.example/debian", "debian-security": "http://b.example/debian-security"}
    assert carried.sources("trixie", mirrors) == (
        "deb http://a.example/debian trixie main\n"
        "deb http://a.example/debian trixie-updates main\n"
        "deb http://b.example/debian-security trixie-security main\n"
    )


def test_of_apts_settings_only_the_ways_are_taken():
    dump = (
        'APT::Install-Recommends "0";\n'
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::Proxy::mirror.example "DIRECT";\n'
        'Acquire::https::CaInfo "/etc/ssl/own.pem";\n'
        'DPkg::Post-Invoke:: "Acquire::http::Proxy";\n'
        'Acquire::Languages "none";\n'
    )
    assert carried.apt_settings(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::Proxy::mirror.example "DIRECT";\n'
        'Acquire::https::CaInfo "/etc/ssl/own.pem";\n'
    )


def test_folders_that_settings_name_are_found():
    text = (
        "[global]\nextra-index-url =\n  file:///srv/a%20b/simple\n  https://index.example/simple\n"
        "find-links = /srv/wheels\n"
    )
    values = [*carried.pip_values(text), "/srv/wheels/inner", "relative", "/", "/etc/ssl/own.pem"]
    # Of an index the folder above its pages: they lead to files beside them.
    assert carried.local_paths(values) == (Path("/srv/a b"), Path("/srv/wheels"), Path("/etc/ssl/own.pem"))


def test_a_pip_configuration_that_is_none_names_nothing():
    assert carried.pip_values("no section = 1\n") == ()


def test_names_of_other_machines_are_carried_and_this_ones_are_not():
    text = (
        "127.0.0.1 localhost here\n127.0.1.1 me\n::1 ip6-localhost\nff02::1 ip6-allnodes\n"
        "# 192.0.2.9 no\n192.0.2.7 mirror\n"
    )
    assert carried.hosts(text).splitlines() == [
        "127.0.0.1 localhost",
        "127.0.1.1 bare",
        "::1 localhost ip6-localhost ip6-loopback",
        "192.0.2.7 mirror",
    ]


def test_name_servers_on_loopback_are_left_out():
    text = "nameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch example\n"
    assert carried.resolvable(text) == "nameserver 192.0.2.1\nsearch example\n"
    assert carried.resolvable("nameserver 127.0.0.53\nnameserver ::1\nsearch example\n") == ""


def test_a_network_that_no_route_leads_to_is_taken():
    assert str(network.free_subnet([], 0)) == "198.18.0.0/30"
    assert (
        str(network.free_subnet(["default", "0.0.0.0/0", "198.18.0.0/30", "198.18.0.5", "fd00::/64"], 0))
        == "198.18.0.8/30"
    )
    assert str(network.free_subnet(["198.19.255.252/30"], 32767)) == "198.18.0.0/30"
    with pytest.raises(network.NoNetworkError, match="routes lead to all of"):
        network.free_subnet(["198.18.0.0/15"], 7)


def test_control_groups_of_both_versions(monkeypatch, tmp_path):
    monkeypatch.setattr(space, "_CGROUPS", tmp_path)
    text = "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/user.slice\n"
    assert space._places(text, "x") == tuple(
        tmp_path / path for path in ("systemd/x", "memory/a/b/x", "cpu,cpuacct/x", "unified/x")
    )
    (tmp_path / "cgroup.controllers").touch()
    assert space._places("0::/user.slice/session.scope\n", "x") == (tmp_path / "x",)


def test_nothing_is_deleted_below_which_something_is_mounted(monkeypatch, tmp_path):
    table = tmp_path / "mountinfo"
    folder = tmp_path / "tree"
    (folder / "dev").mkdir(parents=True)
    monkeypatch.setattr(tree.mounts, "_TABLE", table)
    table.write_text(f"22 1 0:5 / {folder}/dev rw,relatime - devtmpfs devtmpfs rw\n")
    with pytest.raises(tree.TreeError, match=r"tree/dev is mounted: .*tree is left as it is"):
        tree.remove(folder)
    assert (folder / "dev").is_dir()
    table.write_text(f"22 1 0:5 / {folder}2 rw,relatime - tmpfs tmpfs rw\n")
    tree.remove(folder)
    assert not folder.exists()


@pytest.mark.parametrize(("kind", "refused"), [("overlay", "overlay"), ("ext4", "")])
def test_an_engine_cannot_work_on_an_overlay(monkeypatch, tmp_path, kind, refused):
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / / rw - ext4 disk rw\n2 1 0:2 / {tmp_path} rw shared:1 - {kind} none rw\n")
    monkeypatch.setattr(tree, "_TABLE", table)
    assert tree._kind(tmp_path / "tree") == refused
