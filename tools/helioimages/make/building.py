"""Build: a plan -> layers -> image. The heart of the project, I/O at its edge.

`build` makes one image after its parent: link what no earlier run linked (in parallel, the largest layer first), append
the layers to the parent and keep the documents in the store. A second build of the same plan reads a few memos.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from ..conda.lock import CondaPackage
from ..conda.read import site_packages_of
from ..conda.scripts import refuse_scripts
from ..core.errors import HelioError, Stage
from ..core.progress import bar
from ..core.words import count
from ..locks.read import Locks
from ..machine import workers
from ..machine.store import Store
from ..oci.image import Addition, Image, append
from ..oci.layer import Layer
from ..pypi.lock import Wheel
from ..pypi.pyc import Interpreter
from ..spec.image import ImageSpec
from . import budget, linking, own_files
from .plan import PREFIX, ImagePlan, LayerKind, LayerPlan

#: What a history line says of a layer at most; longer ones are in the package list and in the SBOM.
_COMMENT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLayer:
    """One layer of an image: its plan's name, what is in it (for people), the key it is remembered by."""

    name: str
    comment: str
    key: str
    layer: Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image that was built.

    Attributes:
        layers: its own, lowest first, without the parent's.
        fresh: how many of them this run made; the others were in the store.
    """

    plan: ImagePlan
    parent: Built | None
    image: Image
    layers: tuple[BuiltLayer, ...]
    fresh: int

    @property
    def spec(self) -> ImageSpec:
        """What people wrote of the image."""
        return self.plan.spec

    @property
    def locks(self) -> Locks:
        """What it is made of."""
        return self.plan.locks

    @property
    def tag(self) -> str:
        """The lock tag, which names the same image for ever."""
        return self.plan.tag

    @property
    def line(self) -> tuple[Built, ...]:
        """The image's ancestors and itself, the oldest first."""
        return (*(self.parent.line if self.parent else ()), self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What building needs besides plans.

    Attributes:
        paths: sha256 (hex) -> file in the store, of every artefact that the locks name.
        interpreter: compiles .pyc; the locked one. None where no layer of packages is to be made.
        debian: key -> a Debian layer that is on its way; see `systems`.
        jobs: processes at once.
    """

    store: Store
    paths: Mapping[str, Path]
    interpreter: Interpreter | None
    debian: Mapping[str, Future[Layer]]
    jobs: int


def build(shop: Workshop, plan: ImagePlan, done: dict[str, Built] | None = None) -> Built:
    """Return an image, built after its ancestors.

    Args:
        done: images built before in this run, by name; filled.

    Raises:
        HelioError: a package is malformed, packages clash, or the image is over its budget.
    """
    done = {} if done is None else done
    if plan.name in done:
        return done[plan.name]
    parent = build(shop, plan.parent, done) if plan.parent else None
    layers, fresh = _layers(shop, plan, _lower(parent))
    _check_clashes(shop.store, plan, parent.line if parent else (), layers)
    built = assembled(plan, parent, layers, fresh)
    shop.store.put_blob(built.image.config_bytes)
    shop.store.put_blob(built.image.manifest_bytes)
    budget.check(plan, built.image)
    done[plan.name] = built
    return built


def assembled(plan: ImagePlan, parent: Built | None, layers: tuple[BuiltLayer, ...], fresh: int) -> Built:
    """Return an image of a plan and the layers that came of it; their bytes need not be here."""
    image = append(
        parent.image if parent else None,
        [
            Addition(
                layer=layer.layer,
                created_by=f"ADD {layer.name}",
                comment=layer.comment if len(layer.comment) < _COMMENT else "",
            )
            for layer in layers
        ],
        plan.settings(parent.image.digest if parent else None),
        platform=plan.platform,
        created_epoch=plan.locks.epoch,
    )
    return Built(plan=plan, parent=parent, image=image, layers=layers, fresh=fresh)


def _lower(image: Built | None) -> tuple[own_files.Lower, ...]:
    """Return every layer of an image, lowest first."""
    return tuple(
        own_files.Lower(kind=planned.kind, key=layer.key)
        for stage in (image.line if image else ())
        for planned, layer in zip(stage.plan.layers, stage.layers, strict=True)
    )


def _layers(shop: Workshop, plan: ImagePlan, below: tuple[own_files.Lower, ...]) -> tuple[tuple[BuiltLayer, ...], int]:
    """Return the image's own layers in the plan's order, and how many of them were made now."""
    known = {layer.key: linking.recall(shop.store, layer.key) for layer in plan.layers}
    missing = [
        layer
        for layer in plan.layers
        if layer.kind is not LayerKind.FILES and (known[layer.key] is None or layer.key in shop.debian)
    ]
    known |= _link(shop, plan, [layer for layer in missing if layer.kind is LayerKind.PACKAGES])
    # The last, for it is made meanwhile.
    known |= {layer.key: shop.debian[layer.key].result() for layer in missing if layer.kind is LayerKind.DEBIAN}
    built, fresh = [], len(missing)
    for layer in plan.layers:
        key, made = layer.key, known[layer.key]
        if layer.kind is LayerKind.FILES:
            # The last, for what is below says where its files land.
            key, made, is_new = own_files.made(shop.store, plan, below)
            fresh += is_new
        assert made is not None
        lower = own_files.Lower(kind=layer.kind, key=key)
        if layer.kind is LayerKind.DEBIAN and below:
            own_files.check_kept(shop.store, plan, below, lower)
        below = (*below, lower)
        built.append(BuiltLayer(name=layer.name, comment=layer.comment, key=key, layer=made))
    return tuple(built), fresh


def _link(shop: Workshop, plan: ImagePlan, missing: Sequence[LayerPlan]) -> dict[str, Layer]:
    """Make layers of packages by as many processes as there are jobs; returns them by key."""
    if not missing:
        return {}
    assert shop.interpreter is not None
    lock = plan.locks
    packages: tuple[CondaPackage | Wheel, ...] = (*lock.conda.packages, *lock.pypi.wheels)
    records = {record.sha256: record for record in packages}
    conda = [
        record
        for layer in missing
        for package in layer.packages
        if isinstance(record := records[package.sha256], CondaPackage)
    ]
    names = {package.name for package in conda}
    reviewed = lock.conda.scripts.get(plan.platform.subdir, {})
    here = {name: digests for name, digests in reviewed.items() if name in names}
    refuse_scripts(((package, shop.paths[package.sha256]) for package in conda), Stage.LINK, here)
    site_packages = site_packages_of(shop.paths[lock.python.sha256], lock.python) if conda else None
    tasks = [
        linking.Task(
            plan=layer,
            sources=tuple(
                linking.LayerPackage(
                    package=package,
                    record=records[package.sha256],
                    path=shop.paths[package.sha256],
                    patches=tuple(shop.paths[patch.sha256] for patch in package.patches),
                    ran=shop.paths[package.ran] if package.ran else None,
                )
                for package in layer.packages
            ),
            python=lock.python_version,
            interpreter=shop.interpreter,
            interpreter_id=lock.python.sha256,
            platform=plan.platform.subdir,
            store=shop.store.root,
            site_packages=site_packages,
            scripts=lock.conda.reviewed(plan.platform.subdir),
        )
        # The largest first: a big one started last would be waited for by idle processes.
        for layer in sorted(missing, key=lambda layer: -layer.size)
    ]
    made = {}
    with bar(f"layers of {plan.name}", sum(layer.size for layer in missing), unit="bytes") as advance:
        for task, layer in workers.run(linking.make_layer, tasks, jobs=shop.jobs, what=f"layers of `{plan.name}`"):
            made[task.plan.key] = layer
            advance(task.plan.size)
    return made


def _won(plan: ImagePlan) -> dict[str, frozenset[tuple[str, str]]]:
    """Return path -> (winner, loser) as `linking` calls packages, of what conda packages take from their parents'."""
    packages = {package.name: f"{package.name}-{package.version}" for package in plan.locks.conda.packages}
    won = {}
    for path, text in plan.locks.conda.clobbers.get(plan.platform.subdir, {}).items():
        winner, _, losers = text.partition(" over ")
        pairs = frozenset((packages[winner], packages[loser]) for loser in losers.split(", "))
        won[f"{PREFIX[1:]}/{path}"] = pairs
    return won


def _covered(plan: ImagePlan, seen: Mapping[str, tuple[str, str]]) -> dict[str, frozenset[tuple[str, str]]]:
    """Return path -> (winner, loser) of what wheels of an image lie over, as ``x-helioimages.clobber`` says.

    Args:
        seen: the files of its ancestors.

    Raises:
        HelioError: a pattern matches nothing of the loser.
    """
    covered: dict[str, frozenset[tuple[str, str]]] = {}
    for cover in plan.covers:
        theirs = [path for path, (origin, _) in seen.items() if origin == cover.loser]
        paths = fnmatch.filter(theirs, f"{PREFIX[1:]}/{cover.pattern}")
        if not paths:
            raise HelioError(
                Stage.LINK,
                f"`{cover.loser}` has no {cover.pattern}",
                detail=f"x-helioimages.clobber says that `{cover.winner}` wins this path",
                hint="remove the entry from environment.yml",
            )
        for path in paths:
            covered[path] = covered.get(path, frozenset()) | {(cover.winner, cover.loser)}
    return covered


def _check_clashes(
    store: Store,
    plan: ImagePlan,
    below: Sequence[Built],
    layers: Sequence[BuiltLayer],
) -> None:
    """Refuse two packages that bring one path in different layers: which one wins would be the order's chance.

    Within a layer `entries.merge` has seen to it. Debian's layers may replace Debian's files (the dpkg database).

    Args:
        below: the image's ancestors.
        layers: its own.
    """
    seen: dict[str, tuple[str, str]] = {}
    for image in reversed(below):
        for layer in image.layers:
            if layer.name != "debian":
                seen |= linking.files_of(store, layer.key)
    covered = _covered(plan, seen)
    won = _won(plan) | covered
    faults: dict[tuple[str, str], list[str]] = {}
    for layer in layers:
        if layer.name == "debian":
            continue
        for path, (origin, held) in linking.files_of(store, layer.key).items():
            covered.pop(path, None)
            other, other_held = seen.setdefault(path, (origin, held))
            if other_held != held and (origin, other) not in won.get(path, ()):
                faults.setdefault(_sides(other, origin), []).append(path)
    _refuse_remains(covered)
    # A file of one where another has a folder: the upper layer's would take the other away.
    folders: dict[str, str] = {}
    for path, (origin, _) in seen.items():
        above = path.rpartition("/")[0]
        while above and above not in folders:
            folders[above] = origin
            above = above.rpartition("/")[0]
    for path in folders.keys() & seen.keys():
        faults.setdefault(_sides(seen[path][0], folders[path]), []).append(path)
    if faults:
        lines = [
            f"`{a}` and `{b}`: {count(len(paths), 'path')}, e.g. {min(paths)}"
            for (a, b), paths in sorted(faults.items())
        ]
        raise HelioError(
            Stage.LINK,
            "packages bring different files of one name",
            detail="\n".join(lines),
            hint="name the winners in environment.yml under x-helioimages.clobber, e.g. `tests/*: winner over loser`",
        )


def _refuse_remains(covered: Mapping[str, frozenset[tuple[str, str]]]) -> None:
    """Refuse what is left of a package that another one lies over: the two would be mixed.

    Args:
        covered: path -> (winner, loser), of what no layer lies over.
    """
    for path, pairs in sorted(covered.items()):
        winner, loser = min(pairs)
        raise HelioError(
            Stage.LINK,
            f"`{winner}` does not cover `{loser}` of the parent image",
            detail=f"{count(len(covered), 'path')} would be seen beside its own, e.g. {path}",
            hint="have both at one version, or name less in environment.yml under x-helioimages.clobber",
        )


def _sides(left: str, right: str) -> tuple[str, str]:
    return (left, right) if left <= right else (right, left)
