"""The local channel: a real conda channel made from source, equal bytes on every machine.

Recipes (``channel/recipes.toml``) name two kinds of packages: those compiled by a script from a pinned source, and
those made of the unchanged files of the builder's own Debian packages. Both kinds of work happen in the builder, which
has no network; this module fetches, hands in, and writes what comes out as ``.conda`` files and ``repodata.json``.

A package's build string holds a hash of its content and metadata, so one file name never stands for two contents.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..conda.archive import PLACEHOLDER_LENGTH, write_conda, write_repodata
from ..core import digest
from ..core.entries import Content, Entry, Kind
from ..core.errors import HelioError, Stage
from ..core.files import of_file
from ..core.platform import FIRST, Platform
from ..core.progress import say, step
from ..core.words import count
from ..locks.apt import source_urls
from ..machine.fetch import WantedFile, fetch_all
from ..machine.store import Store, settle
from ..spec.recipes import RECIPES, Recipe, Recipes, read_recipes, upstream_version

#: Raised by one whenever this module would make other bytes of the same recipes.
_FORMAT = 1


class ChannelRunner(Protocol):
    """What the channel needs of the builder."""

    key: str
    """Digest of everything in the builder: same key, same tools."""

    def run(
        self, argv: Sequence[str], *, inputs: Mapping[str, Path], output: Path, env: Mapping[str, str] | None = None
    ) -> str:
        """Run without network: ``inputs`` appear read-only in ``$IN/<name>``, what is left in ``$OUT`` is kept."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a package will hold: entries, where they came from, and the licence texts."""

    version: str
    entries: tuple[Entry, ...]
    origin: tuple[str, ...]
    licenses: dict[str, bytes]


def placeholder() -> str:
    """Return the prefix that packages are built for: any real prefix is shorter."""
    start = "/srv/local_channel"
    return (start + "_placehold" * PLACEHOLDER_LENGTH)[:PLACEHOLDER_LENGTH]


def channel_key(root: Path, builder_key: str, platform: Platform) -> str:
    """Return 64 digits naming the channel that these recipes, builder and platform make."""
    folder = root / "channel"
    files = {
        path.relative_to(folder).as_posix(): of_file(path)
        for path in sorted(folder.rglob("*"))
        # Prose and the builder's own lock (whose digest is builder_key) make no bytes.
        if path.is_file() and path.suffix != ".md" and not (path.parent == folder and path.name != "recipes.toml")
    }
    return digest.key_of({"format": _FORMAT, "files": files, "builder": builder_key, "platform": str(platform)})


def build_channel(
    store: Store,
    root: Path,
    builder: ChannelRunner,
    *,
    jobs: int,
    platform: Platform = FIRST,
    urls: Callable[[str, str], Sequence[str]] = source_urls,
) -> Path:
    """Build the local channel unless the store has it.

    Args:
        root: the checkout.
        builder: the Debian builder for ``platform``.
        jobs: compilers at once; the bytes do not depend on it.
        urls: gives the addresses of (pool folder, file), asked only when a source is not in the store.

    Returns:
        the channel's folder: ``<subdir>/`` and ``noarch/`` with packages and ``repodata.json``, and ``channel.json``.

    Raises:
        HelioError: a source cannot be had, a script fails (with the end of its log), a recipe does not fit.
    """
    subdir = platform.subdir
    recipes = read_recipes((root / RECIPES).read_text(encoding="utf-8"))
    key = channel_key(root, builder.key, platform)
    final = store.root / "channels" / key
    if (final / "channel.json").exists():
        return final
    sources = _fetch_sources(recipes, store, urls)
    with tempfile.TemporaryDirectory(dir=store.root / "tmp", prefix="channel.") as name:
        work = Path(name)
        bench = _Bench(folder=root / "channel", work=work, builder=builder, jobs=jobs)
        payloads = _payloads(bench, recipes, sources)
        started = time.monotonic()
        staged = work / "channel"
        written = [_write(recipes, recipe, payloads, staged, platform) for recipe in recipes.packages]
        write_repodata(staged, (subdir,))
        for path, _ in written:
            store.put_artefact(path)
        document = {
            "channel": "local",
            "platform": str(platform),
            "packages": [
                {"file": f"{path.parent.name}/{path.name}", "sha256": sha256, "size": path.stat().st_size}
                for path, sha256 in sorted(written)
            ],
        }
        (staged / "channel.json").write_text(json.dumps(document, indent=1) + "\n")
        final.parent.mkdir(parents=True, exist_ok=True)
        os.chmod(staged, 0o755)
        settle(staged)
        try:
            os.rename(staged, final)
        except OSError:
            # Another run was first, or one was interrupted here long ago; equal keys hold equal bytes.
            if not (final / "channel.json").exists():
                raise
        say(f"    {count(len(written), 'package')} written: {time.monotonic() - started:.1f} s")
    return final


def artefact_paths(channel: Path) -> dict[str, Path]:
    """Return sha256 (hex) -> file of every package of a built channel."""
    document = json.loads((channel / "channel.json").read_bytes())
    return {package["sha256"]: channel / package["file"] for package in document["packages"]}


def _fetch_sources(recipes: Recipes, store: Store, urls: Callable[[str, str], Sequence[str]]) -> dict[str, Path]:
    wanted = [
        WantedFile(
            name=source.file,
            sha256=source.sha256,
            size=source.size,
            where=f"{RECIPES} at source[{index}]",
            urls=partial(urls, source.pool, source.file),
            hint=f"take the new file and its sha256 into {RECIPES}",
        )
        for index, source in enumerate(recipes.sources.values())
    ]
    paths = fetch_all(wanted, store, label="channel sources")
    return {source.name: paths[source.sha256] for source in recipes.sources.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What recipes are made with.

    Attributes:
        folder: ``channel/`` of the checkout, which has the scripts.
        work: a folder for what is half made.
        jobs: compilers at once.
    """

    folder: Path
    work: Path
    builder: ChannelRunner
    jobs: int


def _payloads(bench: _Bench, recipes: Recipes, sources: Mapping[str, Path]) -> dict[str, Payload]:
    """Run the builder and return name -> payload.

    Args:
        sources: name -> file, of the archives that are compiled.
    """
    folder, work, builder = bench.folder, bench.work, bench.builder
    epoch = {"SOURCE_DATE_EPOCH": str(recipes.timestamp // 1000)}
    started = time.monotonic()
    (work / "packages").write_text("".join(f"{p}\n" for recipe in recipes.packages for p in recipe.debian))
    collected = work / "debian"
    collected.mkdir()
    inputs = {"packages": work / "packages", "script": folder / "debian/collect.sh"}
    builder.run(["bash", "-c", 'exec bash "$IN/script"'], inputs=inputs, output=collected, env=epoch)
    say(f"    libraries of Debian collected: {time.monotonic() - started:.1f} s")
    payloads: dict[str, Payload] = {}
    for recipe in recipes.packages:
        if recipe.debian:
            payloads[recipe.name] = _debian_payload(recipe, collected)
        elif recipe.script:
            started = time.monotonic()
            out = work / recipe.name
            out.mkdir()
            inputs = {"source": sources[recipe.source], "script": folder / recipe.script}
            inputs |= {Path(path).name: folder / path for path in recipe.inputs}
            env = epoch | {"PREFIX": placeholder(), "JOBS": str(bench.jobs), "VERSION": recipe.version}
            with step(f"{recipe.name} compiles", told=False):
                log = builder.run(["bash", "-c", 'exec bash "$IN/script"'], inputs=inputs, output=out, env=env)
            payloads[recipe.name] = Payload(
                version=recipe.version,
                entries=tuple(tree_entries(out / "prefix", recipe.name)),
                origin=(recipes.sources[recipe.source].file,),
                licenses={path.name: path.read_bytes() for path in sorted((out / "licenses").iterdir())},
            )
            steps = ", ".join(line for line in (log or "").splitlines() if re.fullmatch(r"[a-z ]+: \d+ s", line))
            say(f"    {recipe.name} compiled: {time.monotonic() - started:.1f} s ({steps})")
        else:
            payloads[recipe.name] = Payload(version=recipe.version, entries=(), origin=(), licenses={})
    return payloads


def _debian_payload(recipe: Recipe, collected: Path) -> Payload:
    """Return the files that a recipe takes out of Debian packages, unchanged."""
    entries: dict[str, Entry] = {}
    for package in recipe.debian:
        files = collected / package / "files"
        matches = sorted(path for pattern in recipe.files for path in files.glob(pattern))
        if recipe.concatenate:
            data = b"".join(path.read_bytes() for path in matches)
            entries[recipe.concatenate] = Entry(path=recipe.concatenate, kind=Kind.FILE, content=Content.of(data))
        else:
            for path in matches:
                entries[f"{recipe.to}/{path.name}"] = _entry(f"{recipe.to}/{path.name}", path, recipe.name)
        if recipe.tree:
            for entry in tree_entries(files / recipe.tree, recipe.name, f"{recipe.to}/"):
                if entry.path.removeprefix(f"{recipe.to}/") not in recipe.skip:
                    entries[entry.path] = entry
    if not entries:
        raise HelioError(
            Stage.BUILD,
            f"`{recipe.name}` of the local channel would be empty",
            where=RECIPES,
            detail=f"expected files of {', '.join(recipe.debian)} like {', '.join(recipe.files) or recipe.tree}",
            hint="the builder's packages changed; mend the recipe",
        )
    for link, target in recipe.links.items():
        entries[link] = Entry(path=link, kind=Kind.SYMLINK, mode=0o777, target=target, origin=recipe.name)
    return Payload(
        version=upstream_version((collected / recipe.debian[0] / "version").read_text()),
        entries=tuple(entries[path] for path in sorted(entries)),
        origin=tuple(f"{name}_{(collected / name / 'version').read_text()}" for name in recipe.debian),
        licenses={f"{name}.copyright": (collected / name / "copyright").read_bytes() for name in recipe.debian},
    )


def tree_entries(folder: Path, origin: str, start: str = "") -> Iterator[Entry]:
    """Yield the files and links below a folder, in the order of their names; folders are implied."""
    for at, folders, names in os.walk(folder):
        folders.sort()
        # os.walk counts links to folders among the folders.
        links = [name for name in folders if os.path.islink(os.path.join(at, name))]
        for name in sorted([*names, *links]):
            path = Path(at, name)
            yield _entry(start + path.relative_to(folder).as_posix(), path, origin)


def _entry(path: str, file: Path, origin: str) -> Entry:
    if file.is_symlink():
        return Entry(path=path, kind=Kind.SYMLINK, mode=0o777, target=os.readlink(file), origin=origin)
    mode = 0o755 if file.stat().st_mode & 0o111 else 0o644
    return Entry(path=path, kind=Kind.FILE, mode=mode, content=Content.of(file.read_bytes()), origin=origin)


def _write(
    recipes: Recipes, recipe: Recipe, payloads: Mapping[str, Payload], staged: Path, platform: Platform
) -> tuple[Path, str]:
    """Write one package and return its path and sha256 (hex)."""
    payload = payloads[recipe.name]
    versions = {name: other.version for name, other in payloads.items()}
    depends = [spec.format(**versions) for spec in recipe.depends]
    if glibc := glibc_needed(payload.entries):
        depends.append(f"__glibc >={glibc},<3.0.a0")
    index: dict[str, Any] = {
        "name": recipe.name,
        "version": payload.version,
        "build_number": 0,
        "subdir": "noarch" if recipe.noarch else platform.subdir,
        "depends": sorted(depends),
        "constrains": [spec.format(**versions) for spec in recipe.constrains],
        "license": recipe.license,
        "timestamp": recipes.timestamp,
    }
    if recipe.noarch:
        index["noarch"] = "generic"
    else:
        index |= {"platform": platform.os, "arch": platform.machine}
    if recipe.python_site_packages_path:
        index["python_site_packages_path"] = recipe.python_site_packages_path
    about = {
        "home": recipe.home,
        "license": recipe.license,
        "summary": recipe.summary,
        "channels": ["local"],
        "extra": {"made_from": list(payload.origin)},
    }
    index["build"] = f"local_h{_content_hash(index, about, payload)}_0{recipe.build_suffix}"
    out = staged / index["subdir"] / f"{recipe.name}-{payload.version}-{index['build']}.conda"
    sha256 = write_conda(
        out,
        index=index,
        entries=payload.entries,
        prefix_placeholder=placeholder(),
        about=about,
        info_files={f"licenses/{name}": text for name, text in payload.licenses.items()},
    )
    return out, sha256


def glibc_needed(entries: Iterable[Entry]) -> str:
    """Return the oldest C library that has every symbol version the programs and libraries ask for, or nothing."""
    versions = {
        (int(major), int(minor))
        for entry in entries
        if entry.kind is Kind.FILE and (data := _bytes(entry)).startswith(b"\x7fELF")
        for major, minor in re.findall(rb"\0GLIBC_(\d+)\.(\d+)", data)
    }
    return "{}.{}".format(*max(versions)) if versions else ""


def _content_hash(index: Mapping[str, Any], about: Mapping[str, Any], payload: Payload) -> str:
    """Return seven digits that change with anything in the package."""
    files = [
        [e.path, e.kind.value, e.mode & 0o111, hashlib.sha256(_bytes(e)).hexdigest()]
        for e in sorted(payload.entries, key=lambda e: e.path)
    ]
    licenses = {name: hashlib.sha256(text).hexdigest() for name, text in payload.licenses.items()}
    return digest.key_of({"index": index, "about": about, "files": files, "licenses": licenses})[:7]


def _bytes(entry: Entry) -> bytes:
    return entry.content.read() if entry.content else entry.target.encode()
