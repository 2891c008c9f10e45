"""Registry logins, from where `docker login` and `podman login` leave them. Secrets are never logged or shown.

Order, as Docker's: the credential helper of the host (``credHelpers``), the credential store (``credsStore``), then
``auths`` in the file itself.

Spec: docker-credential-helpers, README "Development": ``docker-credential-<name> get``, host on stdin, JSON on stdout.
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
from ..oci.transport import Credential

#: Docker writes an identity token as the secret of this user name.
_TOKEN_USER = "<token>"
_TIMEOUT = 60


def config_files() -> tuple[Path, ...]:
    """Return where logins may be, first come first served."""
    files = []
    if folder := os.environ.get("DOCKER_CONFIG"):
        files.append(Path(folder) / "config.json")
    else:
        files.append(Path(os.path.expanduser("~")) / ".docker" / "config.json")
    if file := os.environ.get("REGISTRY_AUTH_FILE"):
        files.append(Path(file))
    elif folder := os.environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(folder) / "containers" / "auth.json")
    return tuple(files)


def from_docker_config(files: tuple[Path, ...] | None = None) -> Callable[[str], Credential | None]:
    """Return a function that gives the login of a host, for `oci.registry.Registry`.

    Nothing is read and no helper is run before a registry asks for a login.

    Args:
        files: in order of preference; by default those of the environment.
    """

    def credential(host: str) -> Credential | None:
        for file in config_files() if files is None else files:
            if found := _from_file(file, host):
                return found
        return None

    return credential


def _from_file(file: Path, host: str) -> Credential | None:
    config = _load(file)
    helpers = _table(config, "credHelpers", file)
    helper = helpers.get(host) or config.get("credsStore")
    if helper:
        if not isinstance(helper, str) or not helper.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise _fault(file, "credHelpers" if host in helpers else "credsStore", "expected the name of a helper")
        if found := _from_helper(helper, host):
            return found
    auths = _table(config, "auths", file)
    for key in _keys(host):
        if isinstance(entry := auths.get(key), dict) and entry:
            return _from_entry(entry, file, f"auths[{json.dumps(key)}]")
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
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise HelioError(
            Stage.PUBLISH, f"`{program}` gives no login for {host}", detail="expected JSON with Username and Secret"
        ) from None
    if not secret:
        return None
    return Credential(username="" if user == _TOKEN_USER else user, secret=secret)


def _load(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise HelioError(Stage.PUBLISH, f"cannot read `{file}`", detail="permission denied") from None
    except ValueError:
        raise HelioError(Stage.PUBLISH, f"cannot read `{file}`", detail="not JSON") from None
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


def _keys(host: str) -> Iterator[str]:
    """How a host may be written in ``auths``: bare, or as the address that old versions wrote."""
    yield host
    for scheme in ("https://", "http://"):
        for path in ("", "/", "/v2/", "/v1/"):
            yield f"{scheme}{host}{path}"
