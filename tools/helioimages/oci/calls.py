"""Calls to one registry's repositories, with just the rights that they need, and its lists, page after page.

Spec: OCI distribution-spec v1.1; distribution, "Token Scope Documentation".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import requests

from ..core.errors import HelioError, Stage
from ..core.words import count
from .reference import repository_in
from .transport import NoToken, RegistryRequest, Transport, refusal, same_host, scope_of

#: Pages of one list; each has up to a thousand names.
_MOST_PAGES = 10_000


class Calls:
    """Calls to the repositories of one registry; may be used by many threads at once.

    Attributes:
        http: what carries them.
    """

    def __init__(self, http: Transport) -> None:
        self.http = http
        self._pushed: set[str] = set()

    @property
    def host(self) -> str:
        """The registry."""
        return self.http.host

    def expect_push(self, repository: str) -> None:
        """Say that a push to a repository follows: from here on each request asks for the right to push."""
        self._pushed.add(repository_in(self.host, repository))

    def call(
        self, repository: str, request: RegistryRequest, *, good: tuple[int, ...], write: bool = False
    ) -> requests.Response:
        """Send a request about a repository.

        Args:
            request: its path is what follows the repository's name, e.g. ``tags/list``, or an address.
            good: the statuses that are an answer.
            write: it changes the repository.

        Raises:
            HelioError: another status, or no answer.
        """
        name = repository_in(self.host, repository)
        if write:
            self._pushed.add(name)
        if not request.path.startswith("http"):
            request = dataclasses.replace(request, path=f"/v2/{name}/{request.path}")
        actions = "pull,push" if name in self._pushed else "pull"
        if request.method == "DELETE":
            # A right of its own, to registries whose tokens tell rights apart.
            actions += ",delete"
        try:
            response = self.http.request(request, scope=scope_of(name, actions))
        except NoToken:
            # Whoever may only read can still see that all is there.
            if write or name not in self._pushed:
                raise
            response = self.http.request(request, scope=scope_of(name, "pull"))
        if response.status_code not in good:
            raise refusal(response)
        return response

    def pages(self, repository: str, path: str, absent: tuple[int, ...] = (404,)) -> Iterator[requests.Response]:
        """Follow ``Link: <…>; rel="next"`` on the same host only.

        Args:
            absent: the statuses that say that there is no such list.

        Raises:
            HelioError: it leads to another host, in a circle, or through more pages than any repository has.
        """
        seen: set[str] = set()
        while path:
            if path in seen or len(seen) == _MOST_PAGES:
                raise HelioError(
                    Stage.PUBLISH,
                    f"the registry `{self.host}` does not end a list",
                    where=f"{repository}: {path.partition('?')[0]}",
                    detail="expected another page, not one that was read"
                    if path in seen
                    else f"expected at most {_MOST_PAGES:,} pages",
                    hint="ask whoever runs it; what was read so far is not all of the list",
                )
            seen.add(path)
            response = self.call(repository, RegistryRequest(method="GET", path=path), good=(200, *absent))
            if response.status_code in absent:
                return
            yield response
            following = response.links.get("next", {}).get("url", "")
            url = urljoin(response.url, following)
            if following and not same_host(url, response.url):
                raise HelioError(
                    Stage.PUBLISH,
                    f"the registry `{self.host}` sends us to another host for the next page",
                    detail=f"expected {urlsplit(response.url).netloc} not {urlsplit(url).netloc}",
                )
            path = url if following else ""


def mismatch(host: str, name: str, *, expected: str, actual: str, size: int) -> HelioError:
    """Return the error for bytes of a registry that are not what their digest says.

    Args:
        name: what was asked for, in that registry.
        size: bytes that were read.
    """
    return HelioError(
        Stage.PUBLISH,
        f"digest mismatch from the registry `{host}`",
        where=name,
        detail=f"expected {expected} not {actual} ({count(size, 'byte')} read)",
        hint="the registry or something before it changes what it stores; do not use this image",
    )
