"""HTTP to one registry: authentication, retries, and no surprises. The only module of the room that opens sockets.

Plain HTTP is used for loopback hosts and where the caller says ``insecure``; credentials never go over it elsewhere.
Tokens and passwords stay out of ``repr``, errors and logs.

Spec: OCI distribution-spec v1.1; distribution, "Token Authentication Specification"; RFC 9110 section 10.2.3.
"""

from __future__ import annotations

import base64
import dataclasses
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from ..core.errors import HelioError, Stage
from ..core.http import AGAIN, DROPPED, Tries, pause_s, reason, retry_after, untrusted
from ..core.words import count
from .reference import address_of, is_loopback, registry_of

_TIMEOUT = (15, 300)
#: Bytes of an answer that is read whole. Spec: distribution-spec, "Pushing Manifests": a manifest is at most 4 MiB.
MOST = 4 << 20
_PIECE = 1 << 16
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A name and a password, or an identity token (``username`` empty). The secret is never shown."""

    username: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRequest:
    """What is asked of a registry.

    Attributes:
        path: ``/v2/…``, or an address that the registry gave.
        body: makes the body anew for each try.
        stream: the caller reads the body in pieces, and closes the response; else it is read here, up to `MOST`.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Any] | None = None
    stream: bool = False


class Refusal(HelioError):
    """A registry's answer that will not change by asking again."""


class Silent(HelioError):
    """No registry answers at a host, however often it is asked."""


class NoToken(HelioError):
    """A registry's token server refuses what was asked for, or does not answer."""


def anonymous(_place: str) -> Credential | None:
    """Give no credential to any place."""
    return None


class Transport:
    """Requests to one registry; may be used by many threads at once.

    Args:
        host: ``host[:port]``.
        credentials: asked once for each ``host/repository``, when the registry wants to know who we are.
        insecure: plain HTTP also where the host is not loopback.
        tries: for faults that pass: dropped connections, 429 and 5xx.
        pause: sleeps so many seconds; tests replace it.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: Callable[[str], Credential | None] = anonymous,
        insecure: bool = False,
        tries: int = 6,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.host, self._at = registry_of(host), address_of(host)
        self._insecure, self._tries, self._pause = insecure or is_loopback(self._at), tries, pause
        self._plain = insecure
        self._ask = credentials
        self._credentials: dict[str, Credential | None] = {}
        self._lock = threading.Lock()
        self._base = ""
        self._challenge: _Challenge | None = None
        self._tokens: dict[str, str] = {}
        self._session = requests.Session()
        # Without this, requests takes passwords from ~/.netrc by itself.
        self._session.auth = lambda request: request
        self._session.headers["User-Agent"] = "helioimages"
        # Digests are of the bytes as stored, and ranges count them; a proxy must not squeeze them again.
        self._session.headers["Accept-Encoding"] = "identity"
        adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=32)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def request(self, request: RegistryRequest, *, scope: str, tries: int | None = None) -> requests.Response:
        """Send one request, as often as needed, and return the answer whatever its status.

        Args:
            scope: what a token must allow, e.g. ``repository:helio/base:pull,push``; several with a space between.
            tries: 1 when the caller recovers by itself.

        Raises:
            HelioError: no answer after all tries, or one that asks to wait after all tries; an address that is none.
        """
        policy = Tries(self.host, self._tries if tries is None else tries, sleep=self._pause)
        request = dataclasses.replace(request, path=self._address(request.path))
        for last in policy:
            try:
                response = self._authorised(request, scope)
            except DROPPED as error:
                policy.failed(_reason(error))
            except (requests.RequestException, ValueError) as error:
                raise self._astray(request.method, request.path, error) from error
            else:
                if response.status_code not in AGAIN:
                    return response
                policy.failed(explain(response), response)
                if last and tries == 1 and (asked := retry_after(response)):
                    # The caller tries again by itself, and shall not before it may.
                    self._pause(pause_s(0, asked))
        raise HelioError(
            Stage.PUBLISH,
            f"the registry `{self.host}` does not answer",
            where=f"{request.method} {_plain(request.path)}",
            detail=f"{policy.why} ({count(policy.number, 'try')})",
            hint="try again later; what was sent stays sent",
        )

    def _address(self, path: str) -> str:
        """Return the address of a path, or one that the registry gave; ours is never asked without TLS if it has it.

        A registry behind a proxy that ends TLS may call itself ``http``.
        """
        base = self.base()
        try:
            url = urljoin(base, path)
            if url.startswith("http:") and base.startswith("https:") and same_host(url, base):
                return urlsplit(url)._replace(scheme="https", netloc=urlsplit(base).netloc).geturl()
        except ValueError as error:
            raise self._astray("GET", path, error) from error
        return url

    def _astray(self, method: str, url: str, error: Exception) -> HelioError:
        return HelioError(
            Stage.PUBLISH,
            f"the registry `{self.host}` sends us to where nobody can go",
            where=f"{method} {_plain(url)}",
            detail=_reason(error),
            hint="it, or a proxy before it, is set up wrong",
        )

    def base(self) -> str:
        """Return ``https://host`` or, where that is allowed, ``http://host``; finds out on first use.

        Raises:
            HelioError: nothing answers there, or it is not a registry.
        """
        with self._lock:
            if not self._base:
                self._base = self._ping()
            return self._base

    def _ping(self) -> str:
        schemes = ("http", "https") if self._insecure else ("https",)
        policy = Tries(self.host, self._tries, sleep=self._pause)
        for _ in policy:
            lasts = True
            for scheme in schemes:
                try:
                    url = f"{scheme}://{self._at}/v2/"
                    response = self._session.get(url, timeout=_TIMEOUT, allow_redirects=False, proxies=_proxies(url))
                except requests.RequestException as error:
                    policy.failed(_reason(error))
                    lasts = lasts and untrusted(error)
                    continue
                lasts = False
                if response.status_code in (200, 401):
                    self._learn(response)
                    return f"{scheme}://{self._at}"
                policy.failed(explain(response), response if response.status_code in AGAIN else None)
            if lasts:
                break
        raise Silent(
            Stage.PUBLISH,
            f"no registry answers at `{self.host}`",
            where=" and ".join(f"{scheme}://{self._at}/v2/" for scheme in schemes),
            detail=policy.why,
            hint="check the name and the network; a registry on another machine must speak TLS",
        )

    def _authorised(self, request: RegistryRequest, scope: str) -> requests.Response:
        """Send a request to its address (no path), with what says who we are."""
        method, url, headers = request.method, request.path, dict(request.headers)
        ours = same_host(url, self._base)
        for first in (True, False):
            # An upload may continue at another host, which is given its own signature in the address, never our token.
            if ours and (authorisation := self._authorisation(scope)):
                headers["Authorization"] = authorisation
            data = request.body() if request.body else None
            response = self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                stream=True,
                timeout=_TIMEOUT,
                # Registries on object stores send HEAD elsewhere too; requests takes our token out for another host.
                allow_redirects=method in ("GET", "HEAD"),
                proxies=_proxies(url),
            )
            if not request.stream or not response.ok:
                _read(response, self.host)
            # Whoever we were sent to has no say in who we are here.
            if response.status_code != 401 or not ours or not first or response.history:
                return response
            # A token that has run out, or the first word that one is needed.
            with self._lock:
                self._learn(response)
                self._tokens.pop(scope, None)
        raise RuntimeError("unreachable")

    def _learn(self, response: requests.Response) -> None:
        if response.status_code == 401:
            self._challenge = _Challenge.of(response.headers.get("WWW-Authenticate", "")) or self._challenge

    def _authorisation(self, scope: str) -> str:
        with self._lock:
            challenge = self._challenge
            if challenge is None:
                return ""
            place = "/".join((self.host, *_repositories(scope)[:1]))
            if place not in self._credentials:
                self._credentials[place] = self._ask(place)
            credential = self._credentials[place]
            if challenge.scheme == "basic":
                return _basic(credential) if credential else ""
            if scope not in self._tokens:
                self._tokens[scope] = self._token(challenge, scope, credential)
            return f"Bearer {self._tokens[scope]}"

    def _token(self, challenge: _Challenge, scope: str, credential: Credential | None = None) -> str:
        """Spec: Token Authentication Specification, "Requesting a Token"; OAuth2 for identity tokens."""
        realm = challenge.realm
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (parts.scheme == "http" and (self._plain or is_loopback(parts.netloc))):
            raise HelioError(
                Stage.PUBLISH,
                f"the registry `{self.host}` sends us elsewhere for a token, over plain HTTP",
                detail=f"expected https not {_plain(realm)}",
            )
        asked = {"client_id": "helioimages"} | ({"service": challenge.service} if challenge.service else {})
        policy = Tries(self.host, self._tries, sleep=self._pause)
        for _ in policy:
            try:
                if credential and not credential.username:
                    form = asked | {"grant_type": "refresh_token", "refresh_token": credential.secret, "scope": scope}
                    response = self._session.post(realm, data=form, timeout=_TIMEOUT, proxies=_proxies(realm))
                else:
                    headers = {"Authorization": _basic(credential)} if credential else {}
                    query = asked | {"scope": scope.split(" ")}
                    response = self._session.get(
                        realm, params=query, headers=headers, timeout=_TIMEOUT, proxies=_proxies(realm)
                    )
            except DROPPED as error:
                policy.failed(_reason(error))
            else:
                if response.ok:
                    return _token_of(response, self.host)
                policy.failed(explain(response), response)
                if response.status_code not in AGAIN:
                    break
        raise NoToken(
            Stage.PUBLISH,
            f"the registry `{self.host}` gives no token",
            where=_plain(realm),
            detail=f"{policy.why}\n"
            f"asked for {scope} {f'as {credential.username}' if credential else 'without a login'}",
            hint=f"log in with `docker login {self.host}`",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Challenge:
    scheme: str
    realm: str = ""
    service: str = ""

    @classmethod
    def of(cls, header: str) -> _Challenge | None:
        """Read ``WWW-Authenticate``; Bearer is preferred when several are offered."""
        if match := re.search(r"\bBearer\s+(.*)", header, re.IGNORECASE):
            # Quotes may be left out of what has no comma and no space. Spec: RFC 9110, section 11.2.
            pairs = re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s",]+))', match[1])
            values = {key.lower(): quoted or bare for key, quoted, bare in pairs}
            if values.get("realm"):
                return cls(scheme="bearer", realm=values["realm"], service=values.get("service", ""))
        return cls(scheme="basic") if re.search(r"\bBasic\b", header, re.IGNORECASE) else None


def explain(response: requests.Response) -> str:
    """Return a status and the registry's own words, on one line.

    Spec: distribution-spec, "Error Codes".
    """
    words = ""
    try:
        document = response.json()
        words = "; ".join(f"{fault.get('code', '')}: {fault.get('message', '')}" for fault in document["errors"][:3])
    except (ValueError, KeyError, TypeError, AttributeError, requests.RequestException):
        pass
    return f"{response.status_code} {response.reason}{f' ({words})' if words else ''}"


def refusal(response: requests.Response) -> Refusal:
    """Return the error for an answer that will not change by asking again."""
    host = registry_of(urlsplit(response.url).netloc)
    login = f"log in with `docker login {host}`"
    hints = {401: login, 403: f"ask for the right to do this, or {login}", 404: "check the repository's name"}
    return Refusal(
        Stage.PUBLISH,
        f"the registry `{host}` refuses",
        where=f"{response.request.method} {_plain(response.url)}",
        detail=explain(response),
        hint=hints.get(response.status_code, ""),
    )


def scope_of(repository: str, actions: str) -> str:
    """Return the scope that a token needs, e.g. ``repository:helio/base:pull,push``."""
    return f"repository:{repository}:{actions}"


def _repositories(scope: str) -> tuple[str, ...]:
    """Return the repositories that a scope names, in its order."""
    return tuple(access.split(":")[1] for access in scope.split(" ") if access.startswith("repository:"))


def _read(response: requests.Response, host: str) -> None:
    """Read an answer's body into ``response.content``, but no endless one."""
    pieces, have = [], 0
    with response:
        for piece in response.iter_content(_PIECE):
            pieces.append(piece)
            have += len(piece)
            if have > MOST:
                raise HelioError(
                    Stage.PUBLISH,
                    f"the registry `{host}` sends too much",
                    where=f"{response.request.method} {_plain(response.url)}",
                    detail=f"expected at most {MOST:,} bytes",
                )
    # requests has no limit of its own; this is where its `content` property keeps what it has read.
    response._content = b"".join(pieces)


def _token_of(response: requests.Response, host: str) -> str:
    try:
        document = response.json()
        token = document.get("token") or document["access_token"]
        if isinstance(token, str):
            return token
    except (ValueError, KeyError, AttributeError):
        pass
    raise HelioError(
        Stage.PUBLISH,
        f"the registry `{host}` gives no token",
        detail="expected a JSON object with token or access_token",
    )


def _basic(credential: Credential) -> str:
    pair = f"{credential.username}:{credential.secret}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _reason(error: BaseException) -> str:
    """The innermost cause of a requests error, without the pool's address."""
    if untrusted(error):
        return reason(error)
    while inner := error.__cause__ or error.__context__:
        error = inner
    return f"{type(error).__name__}: {error}"


def _proxies(url: str) -> dict[str, Any] | None:
    """Return what keeps a proxy that the environment names away from this machine's own loopback."""
    return {"http": None, "https": None, "all": None} if is_loopback(urlsplit(url).netloc) else None


def same_host(left: str, right: str) -> bool:
    """Say whether two addresses are of one host and port; a port that goes without saying may be said."""
    a, b = urlsplit(left), urlsplit(right)
    ports = [part.port or _PORTS.get(part.scheme) for part in (a, b)]
    # The same name without a port by http and by https is one registry, which a proxy stands before.
    same = ports[0] == ports[1] or (a.port is None and b.port is None)
    return a.hostname == b.hostname and same


def _plain(url: str) -> str:
    # Upload addresses carry signatures in their query.
    return url.partition("?")[0]
