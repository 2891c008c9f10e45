"""Hub configuration from the catalogue: what users may start, by digest. Pure, and the same bytes for the same input.

`profile_list` gives KubeSpawner's (and so Zero to JupyterHub's) ``profileList``; `allowed_images` DockerSpawner's
choices; `gateway_options` the images that Dask Gateway may run. None of them ever names a yanked image, nor one whose
notebooks failed.

Spec: KubeSpawner, ``profile_list``; DockerSpawner, ``allowed_images``; dask-gateway-server, ``cluster_options``.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ..core.errors import HelioError, Stage
from ..core.words import count, human_size, plural
from ..spec.hub import RESOURCES, HubSpec, Resources, default_sizes, toleration
from ..spec.image import ImageSpec
from ..spec.lineage import lineage
from ..spec.tags import newest_first

HEADER = "# Made by `buildimages profiles`; do not edit. A diff of this file is what changes for users.\n"
#: A regular expression of any image with a tag or a digest.
ANY = r"[^\s]+[:@][^\s]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One image that users may start.

    Attributes:
        key: the choice's name in URLs and options, e.g. ``helio-2026-11-21``.
        reference: ``host/name:tag@digest``.
        plain: ``host/name:tag``, for spawners that know no digests; the tag never moves.
        default: whether it is what people get who do not choose.
        facts: what the title says in its brackets: versions and size.
    """

    image: str
    key: str
    title: str
    reference: str
    plain: str
    gpu: bool
    sizes: tuple[str, ...]
    default: bool = False
    facts: str = ""

    @property
    def build(self) -> str:
        """The title without its facts: image and tag."""
        return self.title.removesuffix(f" ({self.facts})")


def offers(document: Mapping[str, Any], images: Mapping[str, ImageSpec], *, signed: bool = False) -> tuple[Offer, ...]:
    """Return what a catalogue has to offer, by image, newest first.

    Args:
        document: a catalogue, as `catalogue.document` gives it.
        images: the checkout's, for their ``[hub]`` sections; another image has the defaults.
        signed: leave out what the catalogue does not say to be signed with the key that it was made with.

    Raises:
        HelioError: nothing is left to offer, or two images are the default.
    """
    offered: list[Offer] = []
    defaults = [name for name, image in images.items() if image.hub.default]
    if len(defaults) > 1:
        raise HelioError(
            Stage.SPEC,
            "two images are the default",
            where=f"images/{defaults[1]}/image.toml at hub.default",
            detail=f"expected one of {', '.join(defaults)}",
        )
    for page in document["images"]:
        hub = images[page["name"]].hub if page["name"] in images else HubSpec()
        if not hub.offer:
            continue
        slug = hub.slug or re.sub(r"[^a-z0-9]+", "-", page["name"])
        title = hub.title or page["title"]
        for tag, entry in _offered(page["entries"], signed)[: hub.tags]:
            cuda = entry["facts"].get("cuda", "")
            repository, facts = entry["reference"].partition("@")[0], _facts(entry)
            offered.append(
                Offer(
                    image=page["name"],
                    key=f"{slug}-{tag.replace('.', '-')}",
                    title=f"{title} {tag} ({facts})",
                    reference=f"{repository}:{tag}@{entry['named']}",
                    plain=f"{repository}:{tag}",
                    gpu=bool(cuda),
                    sizes=hub.sizes or default_sizes(cuda=bool(cuda)),
                    default=page["name"] in defaults,
                    facts=facts,
                )
            )
    if not offered:
        raise HelioError(
            Stage.CHECK,
            "no image is left to offer",
            detail="every dated tag is yanked, failed its notebooks, "
            + ("is not signed with the key, " if signed else "")
            + "or is not there",
            hint="publish a new one: `buildimages publish`",
        )
    return tuple(offered)


def resources(images: Mapping[str, ImageSpec], name: str) -> dict[str, Resources]:
    """Return the resources that an image may name: ours, then its ancestors', then its own."""
    resources_by_name = dict(RESOURCES)
    for image in lineage(images, name) if name in images else ():
        resources_by_name |= image.hub.own
    return resources_by_name


def profile_list(
    offered: Sequence[Offer],
    images: Mapping[str, ImageSpec],
    *,
    unlisted: str = "",
    gone: Iterable[str] = (),
    site: str = "",
) -> list[dict[str, Any]]:
    """Return KubeSpawner's ``profile_list``: one profile for servers without a GPU, one for those with.

    Args:
        unlisted: regular expression of images that users may type in; none may if it is empty.
        gone: what nobody may type in, as `gone` gives it.
        site: the address of the catalogue's pages, which say what is in the images; empty for none.

    Raises:
        HelioError: an image names resources that nobody defines, or two define one name differently.
    """
    sizes: dict[str, Resources] = {}
    for offer in offered:
        known = resources(images, offer.image)
        for name in offer.sizes:
            if name not in known:
                raise HelioError(
                    Stage.SPEC,
                    f"there are no resources `{name}`",
                    where=f"images/{offer.image}/image.toml at hub.sizes",
                    detail=f"expected some of: {', '.join(known)}",
                )
            if sizes.setdefault(name, known[name]) != known[name]:
                raise HelioError(
                    Stage.SPEC,
                    f"the resources `{name}` mean two things on one hub",
                    where=f"images/{offer.image}/image.toml at hub.resources.{name}",
                    hint="give one of them another name",
                )
    # KubeSpawner's form and fancy-profiles' take a description as HTML.
    link = f'. <a href="{html.escape(site)}" target="_blank" rel="noopener">What is in the images</a>' if site else ""
    profiles: list[dict[str, object]] = []
    for gpu, slug, title, text in (
        (False, "cpu", "Notebook server", "JupyterLab with an image and a size of your choice"),
        (True, "gpu", "Notebook server with a GPU", "For machine learning; ends sooner when idle, since GPUs are dear"),
    ):
        inside = {name: size for name, size in sizes.items() if (size.gpus > 0) is gpu}
        chosen = [offer for offer in offered if any(name in inside for name in offer.sizes)]
        if chosen:
            profiles.append(
                {
                    "display_name": title,
                    "slug": slug,
                    "description": text + link,
                    "default": not profiles,
                    "profile_options": {
                        "image": _image_option(chosen, unlisted, gone),
                        "resources": _resource_option(inside.values()),
                    },
                }
            )
    return profiles


def unlisted_images(repositories: Iterable[str]) -> str:
    """Return a regular expression of any tag or digest of these repositories (``host/name``).

    >>> re.fullmatch(unlisted_images(["ghcr.io/org/helio"]), "ghcr.io/org/helio:2026.11.21") is not None
    True
    """
    names = "|".join(_escape(name) for name in repositories)
    digest = "@sha256:[0-9a-f]{64}"
    return rf"({names})(:[A-Za-z0-9_][A-Za-z0-9_.\-]{{0,127}}({digest})?|{digest})"


def as_z2jh(profiles: list[dict[str, Any]]) -> str:
    """Return the values file for Zero to JupyterHub's chart."""
    return HEADER + _yaml({"singleuser": {"profileList": profiles}})


def as_dockerspawner(offered: Sequence[Offer]) -> str:
    """Return a fragment of ``jupyterhub_config.py``: DockerSpawner's choices, by the names that people see."""
    # DockerSpawner's form preselects what comes first.
    chosen = sorted(_with_default(offered), key=lambda offer: not offer.default)
    rows = "".join(f"    {offer.title!r}: {offer.plain!r},\n" for offer in chosen)
    # Tags, not digests: DockerSpawner splits at the last colon. A dated tag never moves.
    return f"{HEADER}c.DockerSpawner.image = {chosen[0].plain!r}\nc.DockerSpawner.allowed_images = {{\n{rows}}}\n"


def as_gateway(offered: Sequence[Offer]) -> str:
    """Return values for DaskHub's chart: the images that Dask Gateway may run, and workers that match the notebook.

    The notebook's own image, which KubeSpawner puts into ``JUPYTER_IMAGE_SPEC``, is what a cluster asks for unless told
    otherwise; so the option's values are references, not names for people.
    """
    return HEADER + _yaml(
        {
            "dask-gateway": {"gateway": {"extraConfig": {"helioimages": _Block(gateway_code(offered))}}},
            "jupyterhub": {
                "singleuser": {"extraEnv": {"DASK_GATEWAY__CLUSTER__OPTIONS__IMAGE": "{JUPYTER_IMAGE_SPEC}"}}
            },
        }
    )


def gateway_code(offered: Sequence[Offer]) -> str:
    """Return a fragment of ``dask_gateway_config.py``: a cluster's images, and how Dask starts in them."""
    chosen = _with_default(offered)
    first = next(offer for offer in chosen if offer.default)
    rows = "".join(f"    {offer.reference!r},\n" for offer in chosen)
    return (
        "from dask_gateway_server.options import Options, Select\n"
        "\n"
        f"images = [\n{rows}]\n"
        "\n"
        "def chosen(options):\n"
        '    return {"image": options.image}\n'
        "\n"
        # Distributed no longer brings the programs dask-scheduler and dask-worker, which are the gateway's defaults.
        'c.ClusterConfig.scheduler_cmd = ["dask", "scheduler"]\n'
        'c.ClusterConfig.worker_cmd = ["dask", "worker"]\n'
        f'c.Backend.cluster_options = Options(Select("image", images, default={first.reference!r}, label="Image"), '
        "handler=chosen)\n"
    )


def gone(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return yanked images by every name they have: ``host/name:tag`` and digests."""
    references: set[str] = set()
    for page in document["images"]:
        for entry in page["entries"]:
            if _yanked(entry):
                repository = entry["reference"].partition("@")[0]
                references |= {f"{repository}:{tag}" for tag in entry["tags"]} | {entry["named"], entry["digest"]}
    return tuple(sorted(references))


def _offered(entries: Iterable[Mapping[str, Any]], signed: bool) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the newest dated tag of each image that may be started, newest first, platforms of one index once."""
    good: dict[str, Mapping[str, Any]] = {}
    bad: set[str] = set()
    for entry in entries:
        failed = entry["smoke"] is not None and not entry["smoke"]["passed"]
        doubtful = entry["signature"] != "verified" if signed else entry["signature"] == "bad"
        if _yanked(entry) or failed or doubtful:
            bad.add(entry["named"])
        dated = newest_first(tuple(entry["tags"]))
        if dated:
            good.setdefault(dated[0], entry)
    return [(tag, good[tag]) for tag in newest_first(tuple(good)) if good[tag]["named"] not in bad]


def _yanked(entry: Mapping[str, Any]) -> bool:
    return entry["advisory"] is not None and entry["advisory"]["level"] == "yanked"


def _facts(entry: Mapping[str, Any]) -> str:
    facts = entry["facts"]
    words = [f"Python {'.'.join(facts['python'].split('.')[:2])}"] if "python" in facts else []
    words += [f"CUDA {facts['cuda']}"] if "cuda" in facts else []
    words.append(human_size(entry["size"]))
    if entry["advisory"]:
        words.append(f"advisory: {entry['advisory']['reason']}")
    return ", ".join(words)


def _with_default(offered: Sequence[Offer]) -> tuple[Offer, ...]:
    """Return the offers with exactly one default: the newest of the default image, else the first."""
    at = next((index for index, offer in enumerate(offered) if offer.default), 0)
    return tuple(
        Offer(**{name: getattr(offer, name) for name in offer.__slots__} | {"default": index == at})
        for index, offer in enumerate(offered)
    )


def _image_option(offered: Sequence[Offer], unlisted: str, gone: Iterable[str]) -> dict[str, Any]:
    option: dict[str, Any] = {
        "display_name": "Image",
        "choices": {
            offer.key: {
                "display_name": offer.title,
                **({"default": True} if offer.default else {}),
                "kubespawner_override": {"image": offer.reference},
            }
            for offer in _with_default(offered)
        },
    }
    if unlisted:
        # KubeSpawner matches from the start only, so the end is said here; Python's `$` lets a newline follow.
        words = [_escape(name) for name in gone]
        digests = "|".join(word for word in words if word.startswith("sha256:"))
        named = "|".join(word for word in words if not word.startswith("sha256:"))
        without = (rf"(?!({named})(@|$))" if named else "") + (rf"(?!.*@({digests})$)" if digests else "")
        option["unlisted_choice"] = {
            "enabled": True,
            "display_name": "Image by tag or digest",
            "display_name_in_choices": "Another tag…",
            "validation_regex": f"^{without}{unlisted}$(?!\\n)",
            "validation_message": "Expected one of this hub's images with a tag or digest, and none that was yanked",
            "kubespawner_override": {"image": "{value}"},
        }
    return option


def size_title(size: Resources) -> str:
    """Return a size's name for people, with what a server gets."""
    words = [f"{size.memory_limit[:-1]} {size.memory_limit[-1]}B memory"]
    words.append(f"up to {size.cpu_limit:g} {plural(size.cpu_limit, 'CPU')}")
    words += [count(size.gpus, "GPU")] if size.gpus else []
    return f"{size.title}: {', '.join(words)}"


def _resource_option(sizes: Iterable[Resources]) -> dict[str, Any]:
    choices = {}
    for index, size in enumerate(sizes):
        override: dict[str, Any] = {
            "mem_guarantee": size.memory_guarantee,
            "mem_limit": size.memory_limit,
            "cpu_guarantee": size.cpu_guarantee,
            "cpu_limit": size.cpu_limit,
        }
        if size.gpus:
            override["extra_resource_guarantees"] = {"nvidia.com/gpu": str(size.gpus)}
            override["extra_resource_limits"] = {"nvidia.com/gpu": str(size.gpus)}
        if size.node_selector:
            override["node_selector"] = dict(sorted(size.node_selector.items()))
        if size.tolerations:
            override["tolerations"] = [toleration(text) for text in size.tolerations]
        choices[size.name] = {
            "display_name": size_title(size),
            **({"default": True} if index == 0 else {}),
            "kubespawner_override": override,
        }
    return {"display_name": "Size", "choices": choices}


def _escape(text: str) -> str:
    """Return a regular expression of a text, for Python and for browsers, which take no escapes but these.

    Spec: ECMAScript, "Patterns", IdentityEscape with the flags u and v; HTML, "The pattern attribute" (v).
    """
    return re.sub(r"[\^$\\.*+?()\[\]{}|]", r"\\\g<0>", text)


class _Block(str):
    """A text that YAML shows as a block."""

    __slots__ = ()


class _ProfileDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_ProfileDumper.add_representer(
    _Block, lambda dumper, data: dumper.represent_scalar("tag:yaml.org,2002:str", str(data), style="|")
)


def _yaml(value: object) -> str:
    return yaml.dump(value, Dumper=_ProfileDumper, sort_keys=False, allow_unicode=True, width=1000)
