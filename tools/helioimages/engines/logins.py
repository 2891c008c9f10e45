"""Logins for what an engine pulls: found as our own client of registries finds them, and handed over with the pull.

An engine knows no login by itself, and the Docker SDK looks into Docker's config alone; what `podman login` left, or a
file that a variable names, would go unseen.

Spec: Docker Engine API, "Authentication": the header X-Registry-Auth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..core.errors import HelioError
from ..oci.reference import HUB, registry_of, repository_in
from ..oci.transport import Credential

#: Gives the login of a ``host/repository``.
Logins = Callable[[str], Credential | None]
#: What engines call Docker Hub.
_HUB_ADDRESS = "https://index.docker.io/v1/"


def auth_config(logins: Logins, repository: str) -> dict[str, str] | None:
    """Return the login for a pull, as engines want it; None if there is none, so that the SDK looks by itself.

    Args:
        repository: ``host[:port]/name``.

    Raises:
        HelioError: a file with logins, or a program that keeps them, is broken.
    """
    host, _, name = repository.partition("/")
    login = logins(f"{registry_of(host)}/{repository_in(host, name)}")
    if login is None:
        return None
    server = _HUB_ADDRESS if registry_of(host) == HUB else host
    if not login.username:
        return {"identitytoken": login.secret, "serveraddress": server}
    return {"username": login.username, "password": login.secret, "serveraddress": server}


def tolerant(logins: Logins, repository: str) -> tuple[dict[str, str] | None, HelioError | None]:
    """Return the login for a pull, and why there is none: most images want none, so a broken file is told only then."""
    try:
        return auth_config(logins, repository), None
    except HelioError as error:
        # Without the SDK's own look into the same files, which would fail as well.
        return {}, error


def of(logins: Logins, repositories: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the logins of those ``host/repository`` that have one."""
    by_repository = {repository: tolerant(logins, repository)[0] for repository in repositories}
    return {repository: login for repository, login in by_repository.items() if login}
