"""Layers that the registry which is published to has already: taken as descriptors, and nothing of them is fetched.

What an image needs of such a layer besides is small, and the cache beside the images has it: the list of its files,
and notes (the files that documents are made from; folders and links). Nobody reads the layer, so these are believed:

* where the user has a key, if it signed the entry;
* else if the committed Dockerfile of the image names the diff_id of that very layer, which `render --check` has proven
  without a cache. What is made on top of it, an image's own files, must come out as committed too.

An engine that pulls compares the bytes with digest and diff_id, and notebooks run in no image that it refuses. What is
not believed is brought here and read whole (`travel.bring`), or made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..cache import access
from ..cache.access import Cached
from ..cache.entry import poisoned
from ..core import threads
from ..core.digest import is_hex, of_bytes
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..core.words import count
from ..machine.lent import Lent
from ..machine.store import Store
from . import linking, notes, render, travel
from .building import Built
from .plan import ImagePlan, LayerKind, LayerPlan

#: Requests at once: they wait for the registry, not for a processor.
_JOBS = 16
#: A comment of a Dockerfile and the ADD below it, as images/Dockerfile.j2 writes them.
_ADD = re.compile(r"((?:^#.*\n)+)ADD layers/([0-9a-f]{64})\.tar\.gz /$", re.MULTILINE)


def borrow(store: Store, cached_by_key: Mapping[str, Cached], plans: Iterable[ImagePlan], root: Path) -> None:
    """Have layers count as made that the store lacks and a registry has.

    Args:
        cached_by_key: what caches in the registry that is published to say of layers.
        plans: of the images that are published, and of their ancestors.
        root: the checkout, for the committed Dockerfiles.
    """
    if not cached_by_key:
        return
    plans = tuple(plans)
    layers = {layer.key: layer for plan in plans for layer in plan.layers}
    pinned = committed(root, plans)
    believed = [
        cached
        for key, cached in cached_by_key.items()
        if cached.cache.good is not None or pinned.get(key) == cached.entry.layer.diff_id
    ]
    with threads.pool(_JOBS) as pool:
        lent = pool.map(lambda cached: _lent(cached, layers[cached.entry.key]), believed)
        store.lent |= {cached.entry.key: told for cached, told in zip(believed, lent, strict=True) if told is not None}
    if store.lent:
        say(f"    {count(len(store.lent), 'layer')} stay in the registry {believed[0].cache.place.host}")


def committed(root: Path, plans: Iterable[ImagePlan]) -> Mapping[str, str]:
    """Return the diff_ids that committed Dockerfiles name, by the key of the layer in the plan.

    A layer is known by the comment above it, which names its packages and their versions; of two alike, by none.
    """
    diff_id_by_key: dict[str, str] = {}
    for plan in plans:
        try:
            text = (root / "images" / plan.name / "Dockerfile").read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        named: dict[str, set[str]] = {}
        for comment, diff_id in _ADD.findall(text):
            words = " ".join(line.removeprefix("#") for line in comment.splitlines())
            named.setdefault(" ".join(words.split()), set()).add(f"sha256:{diff_id}")
        for layer in plan.layers:
            described = " ".join(render.described(layer, plan.locks.conda.channels).split())
            if len(diff_ids := named.get(described, set())) == 1:
                diff_id_by_key[layer.key] = next(iter(diff_ids))
    return diff_id_by_key


class Unproven(HelioError):
    """What was made on layers that stay elsewhere is not what was committed: they must be read."""


def check(store: Store, root: Path, built: Built) -> None:
    """Compare what was made on layers that no key signed with what was committed.

    Where an image's own files land depends on folders and links of the layers below, and nobody has read those.

    Raises:
        Unproven: they land elsewhere, or other files.
    """
    if all(lent.proven for lent in store.lent.values()):
        return
    name, pinned = built.spec.name, committed(root, [built.plan])
    for planned, layer in zip(built.plan.layers, built.layers, strict=True):
        if planned.kind is LayerKind.FILES and pinned.get(planned.key) != layer.layer.diff_id:
            raise Unproven(Stage.BUILD, f"the files of `{name}` itself are not as images/{name}/Dockerfile has them")


def _lent(cached: Cached, plan: LayerPlan) -> Lent | None:
    try:
        said = access.told(cached)
        return None if said is None else _checked(cached, plan, *said)
    except HelioError as error:
        say(f"warning: {error.message} ({error.where or cached.where}); it is read whole")
        return None


def _checked(cached: Cached, plan: LayerPlan, rows: bytes, noted: bytes) -> Lent:
    """Return a layer with what is told of it, if that agrees with itself and with the lock.

    Raises:
        HelioError: it does not.
    """
    listed = linking.rows_of(rows)
    named = {package.origin for package in plan.packages}
    if plan.kind is LayerKind.PACKAGES and (others := {origin for origin, _ in listed.values()} - named):
        said = f"its list names packages that the lock has not for this layer: {', '.join(sorted(others)[:3])}"
        raise poisoned(cached.where, said, "")
    try:
        told = notes.parse(noted)
    except HelioError as error:
        raise poisoned(cached.where, "its notes cannot be read", f"{error.where}: {error.detail}") from error
    # Of links a list has the target, and notes have none of them.
    held = {path: content for path, (_, content) in listed.items() if notes.wanted(path) and is_hex(content)}
    if held != {path: of_bytes(data).removeprefix("sha256:") for path, data in told.files.items()}:
        raise poisoned(cached.where, "its notes are not of the files that it lists", "")
    paths = travel.metadata_paths(plan, rows)
    return Lent(
        layer=cached.entry.layer,
        rows=rows,
        # In the layer's order, as whoever reads the layer finds them.
        files={path: told.files[path] for path in held},
        metadata={
            sha256: told.files[path].decode("utf-8", "replace") for path, sha256 in paths.items() if path in held
        },
        shape=told.shape,
        proven=cached.cache.good is not None,
    )
