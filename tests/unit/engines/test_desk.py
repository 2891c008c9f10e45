"""Whom a container runs as, so that it can write to a folder and its files are the folder's owner's."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from helioimages.core.errors import HelioError
from helioimages.engines import desk
from helioimages.engines.desk import Desk


@pytest.mark.parametrize(
    ("own", "rootless", "user"),
    [
        ("{me}", False, ""),
        ("{me}:100", False, ""),
        ("98765", False, "{me}:0"),
        ("98765", True, "0:0"),
    ],
)
def test_whom_a_container_runs_as(tmp_path, own, rootless, user):
    me = str(os.geteuid())
    assert desk.user_of(tmp_path, own.format(me=me), rootless=rootless) == user.format(me=me)


def test_without_a_folder_it_is_the_image_own_user():
    assert desk.user_of(None, "1000", rootless=True) == ""


@pytest.mark.parametrize(
    ("told", "rootless"),
    [
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}, True),
        ({"SecurityOptions": ["name=seccomp,profile=default"], "Rootless": True}, True),
        ({"SecurityOptions": ["name=seccomp,profile=default"], "Rootless": False}, False),
        ({"SecurityOptions": None}, False),
    ],
    ids=["docker", "podman", "podman of root", "an engine without any"],
)
def test_each_engine_says_in_its_way_that_it_is_an_ordinary_users(told, rootless):
    assert desk.is_rootless(told) == rootless


def made(folder=Path("/data"), user="", command=("jupyter", "lab")):
    return Desk(reference="r", folder=folder, user=user, home="/home/jovyan", command=command)


def test_what_the_engine_is_told():
    mounted = {"/data": {"bind": "/home/jovyan/work", "mode": "rw"}}
    # What the image calls "this image" is what a hub would tell it.
    named = {"environment": {"JUPYTER_IMAGE_SPEC": "r"}}
    assert made().options() == {
        "working_dir": "/home/jovyan/work",
        "volumes": mounted,
        "security_opt": ["label=disable"],
        **named,
    }
    assert made(folder=None).options() == {"working_dir": "/home/jovyan", **named}
    assert made(user="5:0").server()["user"] == "5:0"


@pytest.mark.parametrize(
    ("user", "command", "told"),
    [
        ("0:0", ("jupyter", "lab"), ["jupyter", "lab", "--allow-root"]),
        ("5:0", ("jupyter", "lab"), None),
        ("0:0", ("bash",), None),
    ],
)
def test_a_server_that_runs_as_root_is_allowed_to(user, command, told):
    assert made(user=user, command=command).server().get("command") == told


def test_a_shell_is_told_its_image_too(monkeypatch):
    started: list[list[str]] = []
    monkeypatch.setattr(desk.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(
        desk.subprocess, "run", lambda argv, check: started.append(argv) or SimpleNamespace(returncode=3)
    )
    docker = SimpleNamespace(version=dict)
    assert desk.shell(SimpleNamespace(address="unix:///s", client=docker), made(), None) == 3
    assert "--env=JUPYTER_IMAGE_SPEC=r" in started[0][: started[0].index("r")]


def test_the_whole_machine_is_not_mounted():
    with pytest.raises(HelioError, match="`/` is not mounted"):
        desk.desk(SimpleNamespace(pull=lambda _: None), "r", Path("/"))
