"""Where a conda channel is: its name in environment.yml and in locks -> addresses, with the logins that they need.

Names are all that environments and locks hold. What they mean is each machine's own, and said where conda, mamba and
rattler have it said:

* condarc files, of the machine, of the user, of the active environment and ``$CONDARC``, the last the strongest:
  ``channel_alias``, ``custom_channels`` and mamba's ``mirrored_channels``. Addresses there may hold a login:
  ``https://user:password@host/…`` or conda's ``https://host/t/<TOKEN>/…``;
* ``$CONDA_CHANNEL_ALIAS`` goes before the file's alias;
* ``$RATTLER_AUTH_FILE``, else ``~/.rattler/credentials.json``: logins by host, or by host and port, which rattler does
  not look up itself;
* ``~/.netrc`` (read by rattler and requests themselves).

Spec: conda, "Searching for .condarc"; mamba's configuration; rattler's authentication storage; CEP 26 (channel names).
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from ..core.errors import HelioError, Stage
from ..core.http import without_login
from ..core.reading import Form, load_json, load_yaml

#: Where names of channels are looked up if nothing else is said, as conda does.
ALIAS = "https://conda.anaconda.org"

_OF_THE_MACHINE = (Path("/etc/conda"), Path("/var/lib/conda"))

#: Of a file of logins the errors show no value.
_LOGINS = Form(
    message="`{file}` does not hold logins", hint='expected {"host": {"BearerToken": "…"}}', comma=False, json=True
)

#: conda's word for Anaconda's own channels: which ones is a setting of a machine, and their terms are not everyone's.
UNCLEAR = {"defaults", "system"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPlaces:
    """What this machine says of channels.

    Attributes:
        alias: the address below which a channel lies by its name.
        custom: channel -> the address below which it lies.
        mirrored: channel -> its own addresses, in the order in which they are asked.
        logins: host, ``host:port`` or ``*.domain`` -> rattler's word for the login -> its value.
        file: where custom and mirrored come from, for messages.
    """

    alias: str = ALIAS
    custom: Mapping[str, str] = field(default_factory=dict)
    mirrored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    logins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file: str = "~/.condarc"

    def name(self, text: str, where: str) -> str:
        """Return how locks call a channel of environment.yml: its name, or its URL where it has none here.

        Raises:
            HelioError: it holds a login, or does not mean one channel.
        """
        text = text.strip().rstrip("/")
        if text != without_login(text):
            raise HelioError(
                Stage.SPEC,
                f"the channel `{without_login(text)}` is written with a login",
                where=where,
                detail="expected an address without user, password or token: environment.yml is not a secret",
                hint=f"give the login in ~/.rattler/credentials.json or ~/.netrc, or the whole address in {self.file}",
            )
        if text in UNCLEAR:
            raise HelioError(
                Stage.SPEC,
                f"the channel `{text}` means other channels on other machines",
                where=where,
                hint="write `conda-forge`, or the URLs of the channels that are meant",
            )
        if "://" not in text:
            return text
        for base, names in ((self.alias, ()), *((base, (name,)) for name, base in self.custom.items())):
            head = without_login(base).rstrip("/") + "/"
            if text.startswith(head) and (not names or text[len(head) :] in names):
                return text[len(head) :]
        return text

    def addresses(self, channel: str) -> tuple[str, ...]:
        """Return the addresses of a channel, best first, logins included: not for locks, logs or messages."""
        if channel in self.mirrored:
            return tuple(url.rstrip("/") for url in self.mirrored[channel])
        if "://" in channel:
            return (channel,)
        return (f"{self.custom.get(channel, self.alias).rstrip('/')}/{channel}",)

    def of_port(self, url: str) -> tuple[str, Mapping[str, str]]:
        """Return what `login` does if the login is one of a host and port, else the address alone.

        rattler looks logins up by host, so those it must be handed.
        """
        parts = urlsplit(url)
        key = parts.netloc.rpartition("@")[2]
        return self.login(url) if parts.port is not None and key in self.logins else (url, {})

    def login(self, url: str) -> tuple[str, Mapping[str, str]]:
        """Return an address and the headers to ask it with, as rattler would: by the login of its host, if any."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        labels = host.split(".")
        keys = (parts.netloc.rpartition("@")[2], host, *(f"*.{'.'.join(labels[at:])}" for at in range(len(labels))))
        login = next((self.logins[key] for key in keys if key in self.logins), {})
        if parts.username or not login or parts.scheme not in ("http", "https"):
            return url, {}
        if token := login.get("CondaToken"):
            path = f"/t/{quote(str(token), safe='')}{parts.path}"
            return (url if parts.path.startswith("/t/") else urlunsplit(parts._replace(path=path))), {}
        if token := login.get("BearerToken"):
            return url, {"Authorization": f"Bearer {token}"}
        if isinstance(basic := login.get("BasicHTTP"), dict):
            words = f"{basic.get('username', '')}:{basic.get('password', '')}"
            return url, {"Authorization": "Basic " + base64.b64encode(words.encode()).decode()}
        return url, {}


def read_places(environ: Mapping[str, str] = os.environ) -> ChannelPlaces:
    """Read what this machine says of channels.

    Raises:
        HelioError: a file is there and cannot be read.
    """
    home = Path(environ.get("HOME") or Path.home())
    strongest = home / ".condarc"
    custom: dict[str, str] = {}
    mirrored: dict[str, tuple[str, ...]] = {}
    alias = ""
    for path in _condarcs(environ, home):
        if (text := _read(path)) is None:
            continue
        strongest = path
        # Most keys are about conda itself: only those that say where channels are are taken.
        table = load_yaml(text or "{}", str(path))
        alias = table.text("channel_alias", "") or alias
        mine = table.mapping("custom_channels")
        mirrors = table.table("mirrored_channels")
        told = {name: mirrors.strings(name) for name in mirrors.names()}
        custom.update(mine)
        mirrored.update(told)
        for key, urls in (*(("custom_channels", (url,)) for url in mine.values()), *told.items()):
            for url in urls:
                if not re.match(r"(https?|file)://", url):
                    raise HelioError(
                        Stage.SPEC,
                        f"`{without_login(url)}` is not an address of a channel",
                        where=f"{path} at {key}",
                        detail="expected https://, http:// or file://",
                    )
    return ChannelPlaces(
        alias=environ.get("CONDA_CHANNEL_ALIAS") or alias or ALIAS,
        custom=custom,
        mirrored=mirrored,
        logins=_logins(Path(environ.get("RATTLER_AUTH_FILE") or home / ".rattler" / "credentials.json")),
        file=str(strongest),
    )


def _condarcs(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yield conda's files, the weakest first; most of them are not there."""
    for folder in _OF_THE_MACHINE:
        yield from _in_folder(folder)
    if config := environ.get("XDG_CONFIG_HOME"):
        yield from _in_folder(Path(config) / "conda")
    yield from _in_folder(home / ".config" / "conda")
    yield from _in_folder(home / ".conda")
    yield home / ".condarc"
    if prefix := environ.get("CONDA_PREFIX"):
        yield from _in_folder(Path(prefix))
    if named := environ.get("CONDARC"):
        yield Path(named)


def _in_folder(folder: Path) -> Iterator[Path]:
    yield folder / ".condarc"
    yield folder / "condarc"
    pieces = folder / "condarc.d"
    if pieces.is_dir():
        yield from sorted(path for path in pieces.iterdir() if path.suffix in (".yml", ".yaml"))


def _logins(path: Path) -> Mapping[str, Mapping[str, Any]]:
    table = load_json(_read(path) or "{}", str(path), _LOGINS)
    return {host: table.take(host, dict) for host in table.names()}


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise HelioError(Stage.SPEC, f"cannot read `{path}`", where=str(path), detail=str(error)) from error
