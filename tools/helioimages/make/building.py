"""Build: locks -> layers -> image. The heart of the project, I/O at its edge.

`build` makes one image after its parent: link what no earlier run linked (in parallel, the largest layer first), append
the layers to the parent and keep the documents in the store. A second build of the same locks reads a few memos.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.digest import key_of
from ..core.entries import Content, Entry, Kind, directory, merge
from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..core.progress import bar
from ..locks import read
from ..locks.read import Locks
from ..machine import workers
from ..machine.store import Store
from ..oci.image import Addition, Image, Settings, append
from ..oci.layer import LIBDEFLATE_6, Layer
from ..pypi.pyc import Interpreter
from ..spec.environment import EnvironmentSpec
from ..spec.image import ImageSpec
from ..spec.lineage import lineage
from . import budget, debian_layers, labels, linking
from .linking import PREFIX
from .plan import LayerPlan, check_count, own_packages, plan_layers
from .render import Recipe, RecipeLayer


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
        labels: of the config, its own and its ancestors'.
    """

    spec: ImageSpec
    locks: Locks
    parent: Built | None
    image: Image
    layers: tuple[BuiltLayer, ...]
    fresh: int
    labels: Mapping[str, str]

    @property
    def tag(self) -> str:
        """The lock tag, which names the same image for ever."""
        return "lock-" + self.locks.digest.removeprefix("sha256:")[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What building needs besides the locks.

    Attributes:
        paths: sha256 (hex) -> file in the store, of every artefact that the locks name.
        interpreter: compiles .pyc; the locked one.
        platform: e.g. ``linux/amd64``.
    """

    root: Path
    store: Store
    images: Mapping[str, ImageSpec]
    environments: Mapping[str, EnvironmentSpec]
    locks: Mapping[str, Locks]
    paths: Mapping[str, Path]
    interpreter: Interpreter
    platform: Platform
    subdir: str
    jobs: int


def build(shop: Workshop, name: str, done: dict[str, Built] | None = None) -> Built:
    """Return an image, built after its ancestors.

    Args:
        done: images built before in this run; filled.

    Raises:
        HelioError: a package is malformed, packages clash, the image has too many layers or is over its budget.
    """
    done = {} if done is None else done
    if name in done:
        return done[name]
    image, lock = shop.images[name], shop.locks[name]
    parent = build(shop, image.parent, done) if image.parent else None
    environment = shop.environments[image.environment]
    packages = read.packages(lock, environment)
    if parent:
        inherited = read.packages(parent.locks, shop.environments[parent.spec.environment])
        packages = own_packages(packages, inherited)
    plans = plan_layers(packages, alone_bytes=image.alone_bytes, buckets=image.buckets)
    system, system_fresh = _system_layer(shop, image, lock, parent)
    package_layers, fresh = _package_layers(shop, lock, plans)
    files, files_fresh = _files_layer(shop, image)
    layers = (*system, *package_layers, *files)
    check_count(name, len(layers) + (len(parent.image.layers) if parent else 0))
    _check_clashes(shop.store, layers, parent)
    own_labels = labels.labels(image, lock, environment, (parent.spec.name, parent.image) if parent else None)
    settings = Settings(
        env=image.env,
        labels=own_labels,
        exposed_ports=image.ports,
        user=str(image.user.uid) if image.user else None,
        working_dir=image.workdir or None,
        entrypoint=image.entrypoint or None,
        cmd=image.cmd or None,
    )
    made = append(
        parent.image if parent else None,
        [
            Addition(
                layer=one.layer, created_by=f"ADD {one.name}", comment=one.comment if len(one.comment) < 200 else ""
            )
            for one in layers
        ],
        settings,
        platform=shop.platform,
        created_epoch=lock.epoch,
    )
    shop.store.put_blob(made.config_bytes)
    shop.store.put_blob(made.manifest_bytes)
    budget.check(image, made, lock)
    done[name] = Built(
        spec=image,
        locks=lock,
        parent=parent,
        image=made,
        layers=layers,
        fresh=fresh + system_fresh + files_fresh,
        labels={**(parent.labels if parent else {}), **own_labels},
    )
    return done[name]


def _system_layer(
    shop: Workshop, image: ImageSpec, lock: Locks, parent: Built | None
) -> tuple[tuple[BuiltLayer, ...], int]:
    """Return the Debian layer, if there is one: the root file system, or what this image's packages add to it."""
    if not debian_layers.needed(lock.apt, parent.locks.apt if parent else None):
        return (), 0
    line = lineage(shop.images, image.name)
    user = next((one.user for one in line if one.user), None)
    key = debian_layers.key(lock.apt, parent.locks.apt if parent else None, user)
    layer, fresh = linking.recall(shop.store, key), 0
    if layer is None:
        entries = debian_layers.entries(
            shop.store, lock.apt, parent.locks.apt if parent else None, user, shop.paths, jobs=shop.jobs
        )
        layer, fresh = linking.write(shop.store, key, entries, jobs=shop.jobs), 1
    below = {deb.name for deb in parent.locks.apt.packages} if parent else set()
    added = [f"{deb.name} {deb.version}" for deb in lock.apt.packages if deb.name not in below]
    comment = f"Debian {lock.apt.suite}: " + ", ".join(sorted(added))
    return (BuiltLayer(name="debian", comment=comment, key=key, layer=layer),), fresh


def _package_layers(shop: Workshop, lock: Locks, plans: Sequence[LayerPlan]) -> tuple[tuple[BuiltLayer, ...], int]:
    """Return the package layers in the plan's order, made by as many processes as there are jobs."""
    records = {record.sha256: record for record in (*lock.conda.packages, *lock.pypi.wheels)}
    keys = {
        plan.name: plan.key(prefix=PREFIX, interpreter=lock.python.sha256, compressor=LIBDEFLATE_6.name)
        for plan in plans
    }
    layers = {plan.name: linking.recall(shop.store, keys[plan.name]) for plan in plans}
    tasks = [
        linking.Task(
            plan=plan,
            key=keys[plan.name],
            sources=tuple(
                linking.Source(package=one, record=records[one.sha256], path=shop.paths[one.sha256])
                for one in plan.packages
            ),
            python=lock.python_version,
            interpreter=shop.interpreter,
            interpreter_id=lock.python.sha256,
            platform=shop.subdir,
            store=shop.store.root,
        )
        for plan in plans
        if layers[plan.name] is None
    ]
    if tasks:
        # The largest first: a big one started last would be waited for by idle processes.
        tasks.sort(key=lambda task: -task.plan.size)
        label = f"layers of {lock.image.name}"
        with bar(label, sum(task.plan.size for task in tasks), unit="bytes") as advance:
            for task, layer in workers.run(
                linking.make_layer, tasks, jobs=shop.jobs, what=f"layers of `{lock.image.name}`"
            ):
                layers[task.plan.name] = layer
                advance(task.plan.size)
    built = []
    for plan in plans:
        layer = layers[plan.name]
        assert layer is not None
        comment = f"{plan.name}: " + ", ".join(f"{one.name} {one.version}" for one in plan.packages)
        built.append(BuiltLayer(name=plan.name, comment=comment, key=keys[plan.name], layer=layer))
    return tuple(built), len(tasks)


def _files_layer(shop: Workshop, image: ImageSpec) -> tuple[tuple[BuiltLayer, ...], int]:
    """Return the layer of ``images/<name>/files`` and the directories of image.toml, if there are any."""
    entries = own_entries(shop.root, image)
    if not entries:
        return (), 0
    key = files_key(shop.root, image)
    layer, fresh = linking.recall(shop.store, key), 0
    if layer is None:
        layer, fresh = linking.write(shop.store, key, merge(entries)), 1
    return (BuiltLayer(name="files", comment=f"files of images/{image.name}", key=key, layer=layer),), fresh


def own_entries(root: Path, image: ImageSpec) -> tuple[Entry, ...]:
    """Return the entries of an image's last layer: its own files, and the directories of image.toml."""
    return (*files_entries(root / "images" / image.name / "files", image.name), *_dirs(image))


def files_key(root: Path, image: ImageSpec) -> str:
    """Return the key of that layer."""
    folder = root / "images" / image.name / "files"
    return key_of(
        ["files", read.files_digest(folder), [dataclasses.asdict(one) for one in image.dirs], LIBDEFLATE_6.name]
    )


def files_entries(folder: Path, image: str) -> tuple[Entry, ...]:
    """Return the entries of an image's own files: 0755 if executable, else 0644, whatever the umask of the clone."""
    found = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name, origin = path.relative_to(folder).as_posix(), f"images/{image}/files"
        if path.is_symlink():
            found.append(Entry(path=name, kind=Kind.SYMLINK, mode=0o777, target=str(path.readlink()), origin=origin))
        elif path.is_file():
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            content = Content(path.stat().st_size, path.read_bytes)
            found.append(Entry(path=name, kind=Kind.FILE, mode=mode, content=content, origin=origin))
    return tuple(found)


def _dirs(image: ImageSpec) -> tuple[Entry, ...]:
    origin = f"images/{image.name}/image.toml"
    return tuple(directory(d.path, mode=d.mode, uid=d.uid, gid=d.gid, origin=origin) for d in image.dirs)


def _check_clashes(store: Store, layers: Sequence[BuiltLayer], parent: Built | None) -> None:
    """Refuse two packages that bring one path in different layers: which one wins would be the order's chance.

    Within a layer `entries.merge` has seen to it. Debian's layers may replace Debian's files (the dpkg database).
    """
    seen: dict[str, tuple[str, str]] = {}
    at = parent
    while at is not None:
        for one in at.layers:
            if one.name != "debian":
                seen |= linking.files_of(store, one.key)
        at = at.parent
    faults: dict[tuple[str, str], list[str]] = {}
    for one in layers:
        if one.name == "debian":
            continue
        for path, (origin, held) in linking.files_of(store, one.key).items():
            other, other_held = seen.setdefault(path, (origin, held))
            if other_held != held:
                faults.setdefault(tuple(sorted((other, origin))), []).append(path)
    # A file of one where another has a folder: the upper layer's would take the other away.
    folders: dict[str, str] = {}
    for path, (origin, _) in seen.items():
        above = path.rpartition("/")[0]
        while above and above not in folders:
            folders[above] = origin
            above = above.rpartition("/")[0]
    for path in folders.keys() & seen.keys():
        faults.setdefault(tuple(sorted((seen[path][0], folders[path]))), []).append(path)
    if faults:
        lines = [f"`{a}` and `{b}`: {len(paths)} paths, e.g. {min(paths)}" for (a, b), paths in sorted(faults.items())]
        raise HelioError(
            Stage.LINK,
            "packages bring different files of one name",
            detail="\n".join(lines),
            hint="name the winners in environment.yml under x-helioimages.clobber, e.g. `tests/*: winner over loser`",
        )


def recipe(built: Built) -> Recipe:
    """Return what the image's Dockerfile says."""
    own = (
        built.labels
        if built.parent is None
        else {k: v for k, v in built.labels.items() if built.parent.labels.get(k) != v}
    )
    # The parent's digest depends on the compressor, its lock tag does not; a Dockerfile holds what all agree on.
    own = {key: value for key, value in own.items() if key != "org.opencontainers.image.base.digest"}
    return Recipe(
        name=built.spec.name,
        lock_digest=built.locks.digest,
        parent=f"helioimages/{built.parent.spec.name}:{built.parent.tag}" if built.parent else None,
        layers=tuple(RecipeLayer(diff_id=one.layer.diff_id, comment=one.comment) for one in built.layers),
        env=built.spec.env,
        labels=own,
        ports=built.spec.ports,
        workdir=built.spec.workdir,
        user=str(built.spec.user.uid) if built.spec.user else "",
        entrypoint=built.spec.entrypoint,
        cmd=built.spec.cmd,
    )
