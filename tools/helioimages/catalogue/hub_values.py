"""Which images a hub offers its users, as its Helm values say: Zero to JupyterHub's, DaskHub's, any with these inside.

Pure. Images of the hub's own programs (hub, proxies, schedulers) are not users' and are left out.

Spec: Zero to JupyterHub, "Customizing User Environment": ``singleuser.image``, ``singleuser.profileList`` with
``kubespawner_override.image``, also below ``profile_options.*.choices``; DaskHub: the same below ``jupyterhub``, and
the image of clusters: ``extraEnv.DASK_GATEWAY__CLUSTER__OPTIONS__IMAGE`` and options in ``extraConfig`` of the gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from ..core.errors import HelioError, Stage
from ..core.yaml_loader import YamlLoader
from ..oci.reference import Reference
from . import hub_code

#: What stands above images of users' servers and clusters.
_USERS = {"singleuser", "profileList", "kubespawner_override", "backend", "KubeSpawner"}
#: By what Dask's configuration is told, in a user's server, which image a cluster has.
_CLUSTER = "DASK_GATEWAY__CLUSTER__OPTIONS__IMAGE"
#: What stands beside users' containers, and is the chart's or the admin's.
_HELPERS = {"networkTools", "extraContainers", "extra_containers", "initContainers", "init_containers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedImage:
    """One image of a values file; ``where`` is its key, e.g. ``singleuser.image``."""

    where: str
    reference: str


def images(data: bytes, file: str) -> tuple[OfferedImage, ...]:
    """Return the images that users get, each place once, in the file's order.

    Args:
        file: how errors call it.

    Raises:
        HelioError: it is not YAML, as files that are encrypted or templates of charts are not.
    """
    try:
        # Of several documents, Helm takes what all of them say.
        documents = list(yaml.load_all(data.decode("utf-8-sig"), Loader=YamlLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file
        raise _unread(file, where, error.problem or "") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unread(file, file, " ".join(str(error).split())) from error
    offered = [image for document in documents for image in _walk(document, (), users=False)]
    return tuple(dict.fromkeys(offered))


def _unread(file: str, where: str, why: str) -> HelioError:
    return HelioError(
        Stage.USAGE,
        f"cannot read `{file}`",
        where=where,
        detail=f"expected Helm values in YAML: {why}",
        hint="an encrypted file is decrypted first (`sops --decrypt`), a template with {{ … }} is rendered first",
    )


def _walk(value: Any, path: tuple[str, ...], *, users: bool) -> Iterator[OfferedImage]:
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _walk(item, (*path[:-1], f"{path[-1]}[{at}]") if path else (f"[{at}]",), users=users)
        return
    if not isinstance(value, dict):
        return
    if users and value.get("name") == _CLUSTER and (reference := _reference(value.get("value"))):
        yield OfferedImage(where=".".join((*path, "value")), reference=reference)
    for key, item in value.items():
        below = (*path, str(key))
        if str(key) in _HELPERS:
            continue
        mine = users or str(key) in _USERS
        if key == "extraConfig":
            yield from _code(item, below)
        elif key in ("image", _CLUSTER) and mine and (reference := _reference(item)):
            yield OfferedImage(where=".".join(below), reference=reference)
        else:
            yield from _walk(item, below, users=mine)


def _code(item: Any, path: tuple[str, ...]) -> Iterator[OfferedImage]:
    """Yield what code names, which stands there as a text, or as texts by names."""
    for name, text in item.items() if isinstance(item, dict) else [("", item)]:
        if isinstance(text, str):
            where = ".".join((*path, str(name))) if name else ".".join(path)
            yield from (OfferedImage(where=where, reference=reference) for reference in hub_code.images(text))


def _reference(item: Any) -> str:
    """Return an image as one text: a map of name and tag, or the text itself; empty where it names none."""
    if isinstance(item, str):
        return item if "/" in item or ":" in item else ""
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return ""
    tag = item.get("tag")
    # YAML reads 2026.11 as a number and `latest` as a text.
    suffix = "" if tag in (None, "") else f":{tag}"
    return str(item["name"]) + suffix


def parsed(reference: str) -> Reference | None:
    """Return a reference with its registry; None where docker would add one that has no host here.

    >>> parsed("ghcr.io/heliocloud/base:2026.11.19").tag, parsed("pangeo/pangeo-notebook:2026.01.01").host
    ('2026.11.19', 'docker.io')
    """
    head, slash, _ = reference.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost"):
        reference = f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"
    try:
        return Reference.parse(reference)
    except HelioError:
        return None
