"""Registry logins, from where `docker login` and `podman login` leave them. Secrets are never logged or shown.

Order within a file, as Docker's: the credential helper of the host (``credHelpers``), the credential store
(``credsStore``), then ``auths`` in the file itself; there the most specific key wins: ``HOST/org/image``, ``HOST/org``,
``HOST``. Docker Hub has a key of its own, ``https://index.docker.io/v1/``.

Spec: docker-credential-helpers, README "Development": ``docker-credential-<name> get``, host on stdin, JSON on stdout;
containers-auth.json(5); docker-login(1), "Credential stores".
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..core.errors import HelioError, Stage
from ..core.reading import Form, literal, load_json
from ..oci.reference import HUB, registry_of
from ..oci.transport import Credential

#: Docker writes an identity token as the secret of this user name.
_TOKEN_USER = "<token>"
_TIMEOUT = 60
#: Docker's name of its Hub in config files, and what its helpers are asked for.
_HUB_KEY = "https://index.docker.io/v1/"
#: The first of Docker's config files: it has no other keys than ``auths``' own.
_OLD = ".dockercfg"
_VARIABLE = "DOCKER_AUTH_CONFIG"


def config_files() -> tuple[Path, ...]:
    """Return where logins may be, first come first served.

    What the environment names comes before what is only the usual place. podman's file of a session is below
    XDG_RUNTIME_DIR; root and services, who have none, find it in ``/run/containers/<uid>``.
    """
    home = Path(os.path.expanduser("~"))
    docker, named = os.environ.get("DOCKER_CONFIG"), os.environ.get("REGISTRY_AUTH_FILE")
    files = [Path(docker) / "config.json"] if docker else []
    if named:
        files.append(Path(named))
    if not docker:
        files.append(home / ".docker" / "config.json")
    if not named:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        files += [Path(runtime) / "containers" / "auth.json"] if runtime else []
        files.append(Path(f"/run/containers/{os.geteuid()}/auth.json"))
    files.append(Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json")
    return (*files, home / _OLD)


def from_docker_config(files: tuple[Path, ...] | None = None) -> Callable[[str], Credential | None]:
    """Return a function that gives the login of a ``host/repository``, for `oci.registry.Registry`.

    Nothing is read and no helper is run before a registry asks for a login. The variable DOCKER_AUTH_CONFIG, a config
    file's text, comes first, as with docker.

    Args:
        files: in order of preference; by default those of the environment.
    """

    def credential(place: str) -> Credential | None:
        for file in (Path(_VARIABLE), *config_files()) if files is None else files:
            if login := _from_config(_load(file), file, place):
                return login
        return None

    return credential


def _from_config(config: dict[str, Any], file: Path, place: str) -> Credential | None:
    host = registry_of(place.partition("/")[0])
    if file.name == _OLD:
        config = {"auths": config}
    helpers = _table(config, "credHelpers", file)
    key = next((name for name in _names(host) if helpers.get(name)), "")
    if helper := helpers.get(key) or config.get("credsStore"):
        if not isinstance(helper, str) or not helper.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise _fault(file, "credHelpers" if key else "credsStore", "expected the name of a helper")
        for name in _names(host):
            if login := _from_helper(helper, name):
                return login
    auths = _table(config, "auths", file)
    for key in _keys(place):
        entry = auths.get(key)
        login = _from_entry(entry, file, f"auths[{json.dumps(key)}]") if isinstance(entry, dict) else None
        if login:
            return login
    return None


def _from_entry(entry: dict[str, Any], file: Path, key: str) -> Credential | None:
    if token := entry.get("identitytoken"):
        return Credential(username="", secret=str(token))
    if encoded := entry.get("auth"):
        try:
            name, colon, secret = base64.b64decode(str(encoded), validate=True).decode().partition(":")
        except ValueError:
            name = colon = secret = ""
        if not colon:
            # The value is a secret, so the message does not show it.
            raise _fault(file, f"{key}.auth", "expected base64 of name:password")
        return Credential(username=name, secret=secret.rstrip("\0"))
    if entry.get("username") and entry.get("password"):
        return Credential(username=str(entry["username"]), secret=str(entry["password"]))
    return None


def _from_helper(name: str, host: str) -> Credential | None:
    program = f"docker-credential-{name}"
    path = shutil.which(program)
    if path is None:
        raise HelioError(
            Stage.PUBLISH,
            f"`{program}` is not on PATH",
            detail=f"the Docker config names it for the login of {host}",
            hint="install it, or remove it from the config and log in again",
        )
    try:
        done = subprocess.run(
            [path, "get"], input=host.encode(), capture_output=True, timeout=_TIMEOUT, check=False, shell=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HelioError(
            Stage.PUBLISH, f"`{program}` gives no login for {host}", detail=type(error).__name__
        ) from error
    if done.returncode:
        # A helper says on stdout that it has nothing; that is no error. Its output may hold secrets and is not shown.
        if b"not found" in done.stdout:
            return None
        raise HelioError(
            Stage.PUBLISH,
            f"`{program}` gives no login for {host}",
            detail=f"it ended with {done.returncode}",
            hint=f"log in with `docker login {host}`",
        )
    message = literal(f"`{program}` gives no login for {host}")
    try:
        answer = load_json(
            done.stdout, f"what {program} wrote", Form(stage=Stage.PUBLISH, message=message, comma=False, json=True)
        )
        user, secret = answer.text("Username"), answer.text("Secret")
    except HelioError as error:
        # The parser's own error holds all of the text.
        raise error from None
    if not secret:
        return None
    return Credential(username="" if user == _TOKEN_USER else user, secret=secret)


def _load(file: Path) -> dict[str, Any]:
    try:
        if file == Path(_VARIABLE):
            value = json.loads(os.environ.get(_VARIABLE) or "{}")
        else:
            value = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError:
        raise HelioError(Stage.PUBLISH, f"cannot read `{file}`", detail="permission denied") from None
    except json.JSONDecodeError as error:
        where = f"{file} at line {error.lineno}"
        raise HelioError(Stage.PUBLISH, f"cannot read `{file}`", where=where, detail=f"not JSON: {error.msg}") from None
    except (ValueError, RecursionError):
        raise HelioError(Stage.PUBLISH, f"cannot read `{file}`", where=str(file), detail="not JSON") from None
    return value if isinstance(value, dict) else {}


def _table(config: dict[str, Any], key: str, file: Path) -> dict[str, Any]:
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise _fault(file, key, "expected an object")
    return value or {}


def _fault(file: Path, key: str, detail: str) -> HelioError:
    return HelioError(
        Stage.PUBLISH, f"cannot read `{file}`", where=f"{file} at {key}", detail=detail, hint="log in again"
    )


def _names(host: str) -> tuple[str, ...]:
    """Return what a registry is called by those who keep logins: docker has an address for its Hub."""
    return (_HUB_KEY, HUB, "index.docker.io", "registry-1.docker.io") if host == HUB else (host,)


def _keys(place: str) -> Iterator[str]:
    """How a place may be written in ``auths``: a namespace, a bare host, or the address that old versions wrote."""
    host, _, repository = place.partition("/")
    names = _names(registry_of(host))
    parts = repository.split("/") if repository else []
    for count in range(len(parts), 0, -1):
        yield from (f"{name}/{'/'.join(parts[:count])}" for name in names if "://" not in name)
    for name in names:
        yield name
        if "://" not in name:
            for scheme in ("https://", "http://"):
                for path in ("", "/", "/v2/", "/v1/", "/v2", "/v1"):
                    yield f"{scheme}{name}{path}"
