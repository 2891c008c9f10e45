from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.oci.transport import Credential
from helioimages.publish.credentials import config_files, from_docker_config

HOST = "registry.example:5000"
ADA = base64.b64encode(b"ada:pass:word").decode()


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "config.json"

    def write(**document):
        file.write_text(json.dumps(document))
        return from_docker_config((file,))

    write.file = file
    return write


@pytest.fixture
def helper(tmp_path, monkeypatch):
    def install(name: str, script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"http://{HOST}/v2/"])
def test_a_login_in_the_file(config, key):
    credential = config(auths={key: {"auth": ADA}})
    assert credential(HOST) == Credential(username="ada", secret="pass:word")
    assert credential("other.example") is None


def test_an_identity_token_in_the_file(config):
    credential = config(auths={HOST: {"auth": ADA, "identitytoken": "t0ken"}})
    assert credential(HOST) == Credential(username="", secret="t0ken")


def test_no_file_and_no_auths(tmp_path, config):
    assert from_docker_config((tmp_path / "none.json",))(HOST) is None
    assert config()(HOST) is None
    # What `docker login` leaves when a store holds the secret.
    assert config(auths={HOST: {}})(HOST) is None


def test_files_in_order(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text(json.dumps({"auths": {"other.example": {"auth": ADA}}}))
    second.write_text(json.dumps({"auths": {HOST: {"auth": ADA}}}))
    assert from_docker_config((first, second))(HOST).username == "ada"


def test_the_environment_says_where(monkeypatch, tmp_path):
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    docker, auth = tmp_path / ".docker" / "config.json", Path("containers") / "auth.json"
    last = (tmp_path / ".config" / auth, tmp_path / ".dockercfg")
    # Root, and what systemd starts, have no folder of a session.
    session = Path(f"/run/containers/{os.geteuid()}/auth.json")
    assert config_files() == (docker, session, *last)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    assert config_files() == (docker, tmp_path / "run" / auth, session, *last)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "etc"))
    last = (tmp_path / "etc" / auth, tmp_path / ".dockercfg")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert config_files() == (tmp_path / "auth.json", docker, *last)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    assert config_files() == (tmp_path / "docker" / "config.json", tmp_path / "auth.json", *last)


def test_every_place_is_read(monkeypatch, tmp_path):
    """Each in turn has the only login; the oldest of Docker's files has no `auths` around it."""
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    files = [file for file in config_files() if file.is_relative_to(tmp_path)]
    assert len(files) == 4
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        auths = {HOST: {"auth": ADA}}
        file.write_text(json.dumps(auths if file.name == ".dockercfg" else {"auths": auths}))
        assert from_docker_config()(f"{HOST}/a") == Credential(username="ada", secret="pass:word"), file
        file.unlink()
    assert from_docker_config()(f"{HOST}/a") is None
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {HOST: {"auth": ADA}}}))
    assert from_docker_config()(f"{HOST}/a").username == "ada"
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "{")
    with pytest.raises(HelioError, match="cannot read `DOCKER_AUTH_CONFIG`"):
        from_docker_config()(f"{HOST}/a")


def login(name: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{name}:s".encode()).decode()}


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (f"{HOST}/org/image", "image"),
        (f"{HOST}/org/image/part", "image"),
        (f"{HOST}/org/other", "org"),
        (f"{HOST}/organisation/image", "host"),
        (f"{HOST}/image", "host"),
        (HOST, "host"),
        ("other.example/org/image", None),
    ],
)
def test_the_most_specific_key_wins(config, place, name):
    """As `podman login HOST/org` leaves them."""
    credential = config(auths={HOST: login("host"), f"{HOST}/org": login("org"), f"{HOST}/org/image": login("image")})(
        place
    )
    assert (credential and credential.username) == name


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io", "docker.io/ada"]
)
@pytest.mark.parametrize("place", ["docker.io/ada/x", "index.docker.io/ada/x", "registry-1.docker.io/ada/x"])
def test_dockers_hub_has_many_names(config, key, place):
    assert config(auths={key: login("ada")})(place).username == "ada"
    assert config(auths={key: login("ada")})("docker.example/ada/x") is None


@pytest.mark.parametrize("document", [{"credsStore": "mine"}, {"credHelpers": {"docker.io": "mine"}}])
def test_a_helper_is_asked_for_the_hub_as_docker_does(config, helper, document):
    helper(
        "mine",
        'read -r host; test "$host" = https://index.docker.io/v1/ || { echo "credentials not found"; exit 1; }; '
        'echo \'{"Username":"ada","Secret":"s"}\'',
    )
    assert config(**document)("docker.io/library/debian").username == "ada"
    assert config(**document)("ghcr.io/a/b") is None


def test_a_helper_that_knows_the_hub_by_podmans_name(config, helper):
    helper(
        "mine",
        'read -r host; test "$host" = docker.io || { echo "credentials not found"; exit 1; }; '
        'echo \'{"Username":"ada","Secret":"s"}\'',
    )
    assert config(credsStore="mine")("docker.io/library/debian").username == "ada"


def test_a_helper_is_given_the_host_on_stdin(config, helper):
    helper("mine", 'test "$1" = get && read -r host; printf \'{"Username":"%s","Secret":"s"}\' "$host"')
    assert config(credHelpers={HOST: "mine"})(HOST) == Credential(username=HOST, secret="s")
    assert config(credsStore="mine")(HOST) == Credential(username=HOST, secret="s")


def test_a_helper_with_an_identity_token(config, helper):
    helper("mine", 'echo \'{"ServerURL":"x","Username":"<token>","Secret":"t0ken"}\'')
    assert config(credsStore="mine")(HOST) == Credential(username="", secret="t0ken")


def test_a_helper_that_has_nothing_leaves_it_to_the_file(config, helper):
    helper("mine", "echo 'credentials not found in native keychain'; exit 1")
    assert config(credsStore="mine", auths={HOST: {"auth": ADA}})(HOST).username == "ada"
    assert config(credsStore="mine")(HOST) is None


def test_a_helper_that_fails_is_told_without_its_output(config, helper):
    helper("mine", "echo s3cret; echo s3cret >&2; exit 3")
    with pytest.raises(HelioError) as caught:
        config(credsStore="mine")(HOST)
    assert str(caught.value) == (
        f"`docker-credential-mine` gives no login for {HOST}\n"
        "  it ended with 3\n\n"
        f"hint: log in with `docker login {HOST}`"
    )


@pytest.mark.parametrize(
    ("written", "place", "detail"),
    [
        ("s3cret", "line 1", "Expecting value"),
        ('["s3cret"]', "the top level", "expected an object not an array"),
        ('{"Username": "ada"}', "Secret", "expected a string, found nothing"),
        ('{"Username": "ada", "Secret": ["s3cret"]}', "Secret", "expected a string not an array"),
    ],
)
def test_a_helper_that_talks_nonsense_is_told_without_its_output(config, helper, written, place, detail):
    helper("mine", f"echo '{written}'")
    with pytest.raises(HelioError) as caught:
        config(credsStore="mine")(HOST)
    assert str(caught.value) == (
        f"`docker-credential-mine` gives no login for {HOST}\n"
        f"  in what docker-credential-mine wrote at {place}\n  {detail}"
    )
    assert caught.value.__cause__ is None


def test_a_helper_that_is_not_there(config):
    with pytest.raises(HelioError) as caught:
        config(credHelpers={HOST: "no-such-helper"})(HOST)
    assert str(caught.value) == (
        "`docker-credential-no-such-helper` is not on PATH\n"
        f"  the Docker config names it for the login of {HOST}\n\n"
        "hint: install it, or remove it from the config and log in again"
    )


def test_a_helper_name_is_not_a_path(config):
    with pytest.raises(HelioError) as caught:
        config(credsStore="../../bin/evil")(HOST)
    assert caught.value.where == f"{config.file} at credsStore"


@pytest.mark.parametrize(
    ("document", "key", "detail"),
    [
        ({"auths": []}, "auths", "expected an object"),
        ({"credHelpers": "x"}, "credHelpers", "expected an object"),
        ({"auths": {HOST: {"auth": "s3cret!"}}}, f'auths["{HOST}"].auth', "expected base64 of name:password"),
        ({"auths": {HOST: {"auth": "czNjcmV0"}}}, f'auths["{HOST}"].auth', "expected base64 of name:password"),
    ],
)
def test_a_malformed_config_is_told_without_its_secrets(config, document, key, detail):
    with pytest.raises(HelioError) as caught:
        config(**document)(HOST)
    assert str(caught.value) == (
        f"cannot read `{config.file}`\n  in {config.file} at {key}\n  {detail}\n\nhint: log in again"
    )


def test_a_config_that_is_not_json(config):
    for text, place, detail in (
        ("{", " at line 1", ": Expecting property name enclosed in double quotes"),
        ("[" * 100_000, "", ""),
    ):
        config.file.write_text(text)
        with pytest.raises(HelioError) as caught:
            from_docker_config((config.file,))(HOST)
        assert str(caught.value) == f"cannot read `{config.file}`\n  in {config.file}{place}\n  not JSON{detail}"
