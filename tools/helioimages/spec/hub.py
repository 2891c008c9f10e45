"""The ``[hub]`` section of image.toml: how hubs offer an image. Pure; no input of the image's bytes.

[hub]
slug = "helio"                  # in choices' names; the image's name by default
title = "Heliophysics (PyHC)"   # for people; the image's title by default
default = true                  # what people get who do not choose; one image at most
tags = 3                        # how many dated tags are offered, newest first
offer = true                    # false hides the image from hubs
sizes = ["small", "large"]      # names of [hub.resources], its parents' or `RESOURCES`; the first is the default

[hub.resources.large]
title = "Large"
memory-guarantee = "32G"
memory-limit = "32G"
cpu-guarantee = 4
cpu-limit = 8
gpus = 0
node-selector = { "node.kubernetes.io/instance-type" = "r5.4xlarge" }
tolerations = ["hub.jupyter.org/dedicated=user:NoSchedule"]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..core.reading import Shape, Table
from . import shapes

#: Spec: JupyterHub, `Spawner.mem_limit` (a ByteSpecification).
_MEMORY = Shape.of(r"[1-9][0-9]*(\.[0-9]+)?[KMGT]", "a size such as 8G or 1.5T")
#: Spec: Kubernetes, "Taints and Tolerations": key[=value][:effect].
_TOLERATION = Shape.of(
    r"([A-Za-z0-9./_-]+)(?:=([A-Za-z0-9._-]*))?(?::(NoSchedule|PreferNoSchedule|NoExecute))?", "key[=value][:effect]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a server gets.

    Attributes:
        memory_guarantee, memory_limit: as JupyterHub writes them, ``8G``.
        cpu_guarantee, cpu_limit: processors.
        gpus: NVIDIA GPUs.
        node_selector: labels that the node must have.
        tolerations: ``key[=value][:effect]``.
    """

    name: str
    title: str
    memory_guarantee: str
    memory_limit: str
    cpu_guarantee: float
    cpu_limit: float
    gpus: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict, hash=False)
    tolerations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSpec:
    """How hubs offer an image; empty ``slug`` and ``title`` mean the image's own name and title.

    Attributes:
        sizes: names of resources, in the order in which they are offered; empty means `default_sizes`.
        own: the resources that this file defines, by name.
    """

    slug: str = ""
    title: str = ""
    default: bool = False
    tags: int = 2
    offer: bool = True
    sizes: tuple[str, ...] = ()
    own: Mapping[str, Resources] = field(default_factory=dict, hash=False)


# Memory is guaranteed as it is limited, since a notebook that outgrows a full node ends another one's; processors are
# shared. Nodes with GPUs carry NVIDIA's own label and taint, whatever the cloud.
RESOURCES: Mapping[str, Resources] = MappingProxyType(
    {
        resources.name: resources
        for resources in (
            Resources(
                name="small",
                title="Small",
                memory_guarantee="4G",
                memory_limit="4G",
                cpu_guarantee=0.5,
                cpu_limit=2.0,
            ),
            Resources(
                name="medium",
                title="Medium",
                memory_guarantee="8G",
                memory_limit="8G",
                cpu_guarantee=1.0,
                cpu_limit=4.0,
            ),
            Resources(
                name="large",
                title="Large",
                memory_guarantee="32G",
                memory_limit="32G",
                cpu_guarantee=4.0,
                cpu_limit=8.0,
            ),
            Resources(
                name="gpu",
                title="GPU",
                memory_guarantee="14G",
                memory_limit="14G",
                cpu_guarantee=3.0,
                cpu_limit=4.0,
                gpus=1,
                node_selector=MappingProxyType({"nvidia.com/gpu.present": "true"}),
                tolerations=("nvidia.com/gpu:NoSchedule",),
            ),
        )
    }
)


def default_sizes(*, cuda: bool) -> tuple[str, ...]:
    """Return what an image gets that names no sizes."""
    return ("gpu",) if cuda else ("small", "medium", "large")


def parse_hub(table: Table) -> HubSpec:
    """Read a ``[hub]`` section.

    Raises:
        HelioError: with the file and the key.
    """
    resources = table.table("resources")
    own = {name: _resources(resources.table(name), name) for name in resources.names()}
    resources.done()
    hub = HubSpec(
        slug=table.text("slug", "", shapes.SLUG),
        title=table.text("title", "", shapes.LINE),
        default=table.flag("default", False),
        tags=table.whole("tags", 2, minimum=1, maximum=50),
        offer=table.flag("offer", True),
        sizes=table.strings("sizes", shape=shapes.SLUG),
        own=own,
    )
    table.done()
    return hub


def _resources(table: Table, name: str) -> Resources:
    if not shapes.SLUG.fits(name):
        raise table.error("", f"expected {shapes.SLUG.meaning}, not {name!r}")
    resources = Resources(
        name=name,
        title=table.text("title", shape=shapes.LINE),
        memory_guarantee=table.text("memory-guarantee", shape=_MEMORY),
        memory_limit=table.text("memory-limit", shape=_MEMORY),
        cpu_guarantee=table.number("cpu-guarantee"),
        cpu_limit=table.number("cpu-limit"),
        gpus=table.whole("gpus", 0, minimum=0),
        node_selector=table.mapping("node-selector", keys=shapes.NODE_KEY, values=shapes.NODE_VALUE),
        tolerations=table.strings("tolerations", shape=_TOLERATION),
    )
    if memory_bytes(resources.memory_guarantee) > memory_bytes(resources.memory_limit):
        raise table.error(
            "memory-guarantee", f"expected at most the limit {resources.memory_limit}, not {resources.memory_guarantee}"
        )
    if not 0 < resources.cpu_guarantee <= resources.cpu_limit:
        raise table.error(
            "cpu-guarantee",
            f"expected more than 0 and at most the limit {resources.cpu_limit:g}, not {resources.cpu_guarantee:g}",
        )
    table.done()
    return resources


def memory_bytes(text: str) -> float:
    """Return a memory size in bytes.

    >>> memory_bytes("1.5G") == 1.5 * 2**30
    True
    """
    return float(text[:-1]) * 2.0 ** (10 * ("KMGT".index(text[-1]) + 1))


def toleration(text: str) -> dict[str, str]:
    """Return a toleration as Kubernetes writes it.

    >>> toleration("nvidia.com/gpu:NoSchedule")
    {'key': 'nvidia.com/gpu', 'operator': 'Exists', 'effect': 'NoSchedule'}
    """
    match = _TOLERATION.pattern.fullmatch(text)
    if match is None:
        raise ValueError(text)
    key, value, effect = match.groups()
    rule = {"key": key, "operator": "Exists"} if value is None else {"key": key, "operator": "Equal", "value": value}
    return rule | ({"effect": effect} if effect else {})
