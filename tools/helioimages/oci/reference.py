"""References: ``host[:port]/name[:tag][@digest]``, in distribution's grammar.

Spec: distribution/reference, "Grammar"; OCI distribution-spec v1.1, "Pulling manifests".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ..core.digest import is_digest
from ..core.errors import HelioError, Stage

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MOST = 255

#: Docker Hub's name in references. It is known by others too, and its registry answers at another address.
HUB = "docker.io"
_HUB_NAMES = frozenset((HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"))
_HUB_ADDRESS = "registry-1.docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A place in a registry.

    Attributes:
        host: with its port, e.g. ``localhost:5000``.
        repository: e.g. ``helio/base``.
        tag, digest: either, both or neither.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference. The registry must be named: nothing here guesses one.

        Raises:
            HelioError: it does not follow the grammar; says which part.
        """
        rest, at, digest = text.partition("@")
        if at and not is_digest(digest):
            raise _fault(text, f"expected sha256:<64 hex digits> after @ not {digest!r}")
        host, slash, path = rest.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost" or host != host.lower()):
            raise _fault(text, "expected a registry before the first /, with a dot or a port, or localhost")
        if not is_host(host):
            raise _fault(text, f"expected host[:port] not {host!r}")
        name, colon, tag = path.partition(":")
        if colon and not is_tag(tag):
            raise _fault(text, f"expected at most 128 of A-Z a-z 0-9 _ . - as a tag not {tag!r}")
        if not is_repository(name) or len(host) + 1 + len(name) > _MOST:
            raise _fault(text, f"expected a lower-case name of at most {_MOST} characters not {name!r}")
        host = registry_of(host)
        return cls(host=host, repository=repository_in(host, name), tag=tag, digest=digest)


def registry_of(host: str) -> str:
    """Return the one name of a registry: Docker Hub has several.

    Spec: distribution/reference, "familiar" names.
    """
    return HUB if host.lower() in _HUB_NAMES else host


def address_of(host: str) -> str:
    """Return the ``host[:port]`` at which a registry answers."""
    return _HUB_ADDRESS if registry_of(host) == HUB else host


def repository_in(host: str, name: str) -> str:
    """Return a repository as its registry calls it: Docker Hub's official images are below ``library/``.

    >>> repository_in("docker.io", "debian"), repository_in("ghcr.io", "debian")
    ('library/debian', 'debian')
    """
    return f"library/{name}" if registry_of(host) == HUB and "/" not in name else name


def is_tag(text: str) -> bool:
    """Say whether a registry accepts this tag."""
    return _TAG.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Say whether a registry accepts this repository name."""
    return _REPOSITORY.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Say whether this is ``host[:port]``."""
    return _HOST.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Say whether ``host[:port]`` is this machine, so that plain HTTP leaks nothing."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _fault(text: str, detail: str) -> HelioError:
    return HelioError(
        Stage.USAGE, f"`{text}` is not an image reference", detail=detail, hint="write host[:port]/name[:tag][@digest]"
    )
