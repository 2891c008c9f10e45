"""Which certificate authorities are believed: one answer for this program and all that it starts.

Sites whose proxy reads HTTPS have an authority of their own, and tell programs so in as many ways as there are: the
system's file, OpenSSL's variable, that of requests and curl, pip's variable or configuration. Each program reads some
of them, so what pip reaches this program would not. Here the first that is set holds for all.

Spec: OpenSSL, X509_get_default_cert_file(3); requests, "SSL Cert Verification"; pip, "HTTPS Certificates".
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from ..core.errors import HelioError, Stage
from ..pypi.places import pip_settings
from .bootstrap import SYSTEM_CERTIFICATES

#: The strongest first. Node's and git's are not among them: those may hold one authority more, not all.
_NAMED = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
#: Who reads which: uv, rattler and Python; requests, pip and the engine's client; Node.
_FOR_FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
#: A folder of hashed names is no file to those who want one.
_FOR_FOLDERS = ("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


@contextlib.contextmanager
def believed() -> Iterator[None]:
    """Let this process and what it starts believe what `settings` says, for a block.

    Raises:
        HelioError: what is named is not there.
    """
    added = settings(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add, so that every program believes the authorities that one of them was told.

    Nothing that is set is changed; without any setting the system's file holds, which is where
    ``update-ca-certificates`` puts a site's own.

    Raises:
        HelioError: what is named is not there.
    """
    named, where = _named(environ)
    if named and not os.path.exists(named):
        raise HelioError(
            Stage.HOST,
            "the file of certificate authorities is not there",
            where=where,
            detail=f"{named}: expected a PEM file, or a folder of them with hashed names",
            hint=f"name the file that your site gave you, or unset {where}",
        )
    bundle = named or next((path for path in SYSTEM_CERTIFICATES if os.path.isfile(path)), "")
    if not bundle:
        return {}
    names = _FOR_FOLDERS if os.path.isdir(bundle) else _FOR_FILES
    return {name: bundle for name in names if not environ.get(name)}


def _named(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the file that somebody named, and where."""
    for name in _NAMED:
        if value := environ.get(name):
            return value, name
    try:
        of_pip = pip_settings(environ).get("cert", "")
    except HelioError:
        # Whoever needs pip's configuration says what is wrong with it; not all do.
        of_pip = ""
    return os.path.expanduser(of_pip), "pip's setting `cert`"
