"""The catalogue as a folder of static pages: open `index.html`, no server and no network needed.

Browsers refuse to fetch from a folder, so the data that pages search and show are scripts that are loaded when a page
needs them: each package once, and each build's as a difference from the build before; and a file of deltas a build.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..core import templates
from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..core.words import count, human_size, plural
from ..locks import ecosystems
from ..locks.diff import Change
from ..oci.reference import is_loopback
from ..smoke import rendered
from . import advisories, feed, notebooks
from .comparison import NO_REASONS, Reasons, compared, comparisons
from .delta import delta, summary
from .model import Catalogue, CatalogueEntry, ImagePage, Smoke, columns, document
from .weight import SHOWN, few

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).with_name("templates")
SCHEMA = Path(__file__).with_name("catalogue.schema.json")
LABELS = {
    "python": "Python",
    "jupyterhub": "JupyterHub",
    "jupyterlab": "JupyterLab",
    "dask": "Dask",
    "cuda": "CUDA",
    "driver": "NVIDIA driver, least",
}
_KINDS = {
    "sbom": "SBOM",
    "packages": "Package list",
    "weight": "Weight",
    "work": "Work",
    "signature": "Signature",
    "provenance": "Provenance",
    "smoke": "Smoke report",
    "other": "Other",
}
_SIGNATURES = {
    "none": ("not signed", "none", "No signature is attached."),
    "attached": (
        "signed, not checked",
        "good",
        "A signature is attached; this catalogue was made without a key to check it.",
    ),
    "verified": ("signed", "good", "Its signature was checked with the key that this catalogue was made with."),
    "bad": ("bad signature", "bad", "Its signature is not good: do not use this image."),
}
_MARKER = ".helioimages-catalogue"
NO_NOTES: Mapping[str, Mapping[str, str]] = MappingProxyType({})
NO_MODULES: Mapping[str, str] = MappingProxyType({})
#: How a severity is shown.
_ALARM = {"critical": "bad", "high": "bad", "moderate": "warn", "unknown": "warn", "low": "none", "": "good"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A text to copy."""

    title: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From the build before to this one; ``summary``, ``changes`` and ``partial`` as in `delta`."""

    old_id: str
    old_tag: str
    bytes: int
    layers: int
    summary: str
    changes: tuple[Change, ...]
    partial: tuple[str, ...]


class Site:
    """A site that is being written beside the place it will have; see `writing`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, data: bytes, name: str, group: str) -> str:
        """Write a file of an artifact and return its path in the site.

        Args:
            group: the artifact's digest. Its files share a folder, so that the links of a report hold.
        """
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name.rpartition("/")[2]).lstrip(".-") or "file"
        path = self.folder / "files" / group.removeprefix("sha256:")[:16] / safe
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path.relative_to(self.folder).as_posix()

    def write(
        self,
        catalogue: Catalogue,
        others: Sequence[Catalogue] = (),
        *,
        audit: advisories.Audit | None = None,
        notes: Mapping[str, Mapping[str, str]] = NO_NOTES,
        reasons: Reasons = NO_REASONS,
        modules: Mapping[str, str] = NO_MODULES,
    ) -> None:
        """Write the pages, the data and the JSON for machines.

        Args:
            others: whose images are on the first page, too, and whose notebooks are on that of notebooks.
            audit: what is known of faults; None says nothing of them.
            notes: image -> tag -> what people say of it.
            reasons: image -> package -> why it is there.
            modules: distribution -> how its modules are called, where that is not its name.
        """
        known = advisories.of(catalogue, audit) if audit else {}
        whole = document(catalogue)
        (self.folder / "assets").mkdir(exist_ok=True)
        for name in ("style.css", "tables.js", "app.js"):
            shutil.copyfile(_TEMPLATES / name, self.folder / "assets" / name)
        self._text("catalogue.json", json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        self._text(feed.FILE, feed.feed(catalogue))
        shutil.copyfile(SCHEMA, self.folder / "catalogue.schema.json")
        self._text(
            "data/contents.js", f"window.helioContents={_packed(columns(whole) | {'modules': dict(modules)})};\n"
        )
        for entry, deltas in comparisons(catalogue, reasons):
            named = f"(window.helioDeltas??={{}})[{_packed(entry.id)}]"
            self._text(f"data/deltas/{entry.id}.js", f"{named}={_packed(deltas)};\n")
        environment = _environment()

        def page(path: str, template: str, **values: object) -> None:
            up = "../" * path.count("/")
            shared = {
                "catalogue": catalogue,
                "labels": LABELS,
                "kinds": _KINDS,
                "up": up,
                "audit": audit,
                "known": known,
                "shown": SHOWN,
            }
            self._text(path, environment.get_template(template).render(**shared, **values))

        scheme = "http" if is_loopback(catalogue.registry) else "https"
        platforms = len({entry.platform for entry in catalogue.entries}) > 1
        added = _added(catalogue)
        page(
            "index.html",
            "index.html.j2",
            page="index",
            added=added,
            others=others,
            packages_of=notebooks.packages_of_newest,
        )
        page("packages.html", "packages.html.j2", page="packages")
        page("notebooks.html", "notebooks.html.j2", page="notebooks", index=notebooks.index(catalogue, others))
        page(
            "compare.html",
            "compare.html.j2",
            page="compare",
            chosen=_chosen(catalogue),
            compared=compared(catalogue),
            several_platforms=platforms,
        )
        for image in catalogue.images:
            steps = _steps(image)
            shown = [
                key for key in LABELS if key != "jupyterlab" and any(key in entry.facts for entry in image.entries)
            ]
            page(
                f"images/{slug(image.name)}.html",
                "image.html.j2",
                page="image",
                image=image,
                added=added.get(image.name),
                steps=steps,
                notes=_notes(image, notes.get(image.name, {})),
                columns=shown,
                several_platforms=platforms,
            )
            for entry in image.entries:
                page(
                    f"tags/{entry.id}.html",
                    "entry.html.j2",
                    page="entry",
                    entry=entry,
                    step=steps[entry.id],
                    note=_notes(image, notes.get(image.name, {})).get(entry.id, ""),
                    repository=f"{catalogue.registry}/{image.repository}",
                    reference=f"{catalogue.registry}/{image.repository}@{entry.named}",
                    blobs=f"{scheme}://{catalogue.registry}/v2/{image.repository}/blobs",
                    snippets=snippets(entry, f"{catalogue.registry}/{image.repository}"),
                )

    def _text(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")


@contextmanager
def writing(output: Path) -> Iterator[Site]:
    """Yield a site in a new folder beside ``output``; on success it takes that place, on error nothing changed.

    Raises:
        HelioError: ``output`` is there and is not a catalogue of ours.
    """
    output = output.resolve()
    if output.exists() and not (output / _MARKER).exists() and any(output.iterdir()):
        raise HelioError(
            Stage.USAGE,
            f"`{output}` is not empty, and not a catalogue",
            detail="a catalogue replaces the whole folder",
            hint="name a new folder with --output",
        )
    half = output.with_name(f".{output.name}.{os.getpid()}")
    old = output.with_name(f".{output.name}.old.{os.getpid()}")
    half.mkdir(parents=True)
    try:
        (half / _MARKER).write_text("made by `buildimages catalogue`; the next run replaces this folder\n")
        yield Site(half)
        if output.exists():
            output.rename(old)
        try:
            half.rename(output)
        except OSError:
            if old.exists():
                old.rename(output)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def snippets(entry: CatalogueEntry, repository: str) -> tuple[Snippet, ...]:
    """Return how to start an image, by digest, so that the same bytes run everywhere.

    Args:
        repository: ``host/name``.
    """
    reference = f"{repository}@{entry.named}"
    pinned = next((tag for tag in entry.tags if tag != "latest"), "")
    # The chart writes `name:tag`, so that a digest goes behind a tag, or is split at its colon.
    name_of, tag_of = (
        (repository, f"{pinned}@{entry.named}")
        if pinned
        else (f"{repository}@sha256", entry.named.removeprefix("sha256:"))
    )
    run = "run --rm -it -p 127.0.0.1:8888:8888"
    end = f' \\\n  -v "$PWD":/home/jovyan/work \\\n  {reference}'
    name = entry.image.rpartition("/")[2]
    # Each engine has its own word for a GPU: Docker's request, podman's CDI device, Apptainer's bind of the driver.
    words = (" --gpus all", " --device nvidia.com/gpu=all", " --nv") if "cuda" in entry.facts else ("", "", "")
    title = "{} with a GPU" if "cuda" in entry.facts else "{}"
    lines = [
        Snippet(title="Pull", text=f"docker pull {reference}", note="podman pull and nerdctl pull take the same."),
        Snippet(title=title.format("Docker"), text=f"docker {run}{words[0]}{end}"),
        Snippet(
            title=title.format("Podman"),
            text=f"podman {run}{words[1]} --userns=keep-id:uid=1000,gid=1000{end}",
        ),
        Snippet(
            title=title.format("Apptainer"),
            text=f"apptainer pull {name}.sif docker://{reference}\n"
            f"apptainer exec{words[2]} {name}.sif jupyter lab --no-browser",
        ),
        Snippet(
            title="Zero to JupyterHub",
            text=f'singleuser:\n  image:\n    name: {name_of}\n    tag: "{tag_of}"',
        ),
        Snippet(
            title="Binder",
            text=f"FROM {reference}",
            note="As binder/Dockerfile of a repository; the link to share is below.",
        ),
    ]
    return tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedBytes:
    """What an image adds to the one that it is made on; ``unpacked`` bytes are 0 where they are not known."""

    parent: str
    bytes: int
    unpacked: int


def _added(catalogue: Catalogue) -> dict[str, AddedBytes]:
    """Return what images add to the image that they are made on, of those here, by the layers of the newest builds."""
    newest = {image.name: image.newest for image in catalogue.images if image.newest.layers}
    layers = {name: {layer.digest for layer in entry.layers} for name, entry in newest.items()}
    added: dict[str, AddedBytes] = {}
    for name, own in layers.items():
        below = [other for other, its in layers.items() if other != name and its < own]
        if below:
            parent = max(below, key=lambda other: _size(newest[other]))
            both = newest[name].unpacked, newest[parent].unpacked
            added[name] = AddedBytes(
                parent=parent,
                bytes=_size(newest[name]) - _size(newest[parent]),
                unpacked=both[0] - both[1] if all(both) else 0,
            )
    return added


def _size(entry: CatalogueEntry) -> int:
    return sum(layer.size for layer in entry.layers)


def _packed(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def slug(name: str) -> str:
    """Return an image's name as a file name.

    >>> slug("org/helio")
    'org-helio'
    """
    return name.replace("/", "-")


def _notes(image: ImagePage, notes: Mapping[str, str]) -> dict[str, str]:
    """Return what people say of each build, by any of its tags."""
    return {entry.id: "\n\n".join(notes[tag] for tag in entry.tags if tag in notes) for entry in image.entries}


def _steps(image: ImagePage) -> dict[str, Step | None]:
    """Return what each entry costs a node that has the entry before it, of the same platform."""
    steps: dict[str, Step | None] = {}
    newer: dict[Platform, CatalogueEntry] = {}
    for entry in image.entries:
        steps[entry.id] = None
        if (after := newer.get(entry.platform)) is not None:
            difference = delta(entry.side(), after.side())
            steps[after.id] = Step(
                old_id=entry.id,
                old_tag=entry.tag,
                bytes=difference.pull_bytes,
                layers=len(difference.pull),
                summary=f"Packages: {summary(difference.changes)}" if difference.known else "Packages are not known",
                changes=difference.changes,
                partial=difference.partial,
            )
        newer[entry.platform] = entry
    return steps


def _chosen(catalogue: Catalogue) -> Mapping[str, str]:
    """Return what the compare page shows first: the last step of the image that has one, else the first two images."""
    for image in reversed(catalogue.images):
        same = [entry for entry in image.entries if entry.platform == image.newest.platform]
        at = same.index(image.newest)
        if at + 1 < len(same):
            return {"from": same[at + 1].id, "to": image.newest.id}
    return {"from": catalogue.images[0].newest.id, "to": catalogue.images[-1].newest.id}


@cache
def _environment() -> Environment:
    environment = templates.pages(_TEMPLATES, trim_blocks=True, lstrip_blocks=True)

    def passed(smoke: Smoke) -> int:
        return sum(notebook.status == "passed" for notebook in smoke.notebooks)

    environment.filters |= {
        "size": human_size,
        "count": count,
        "plural": plural,
        "slug": slug,
        "alarm": _ALARM.__getitem__,
        "ecosystem": lambda kind: ecosystems.of(kind).title,
        "few": few,
        "markdown": rendered.markdown,
        "passed": passed,
        "signature": lambda state: _SIGNATURES[state][0],
        "signature_class": lambda state: _SIGNATURES[state][1],
        "signature_long": lambda state: _SIGNATURES[state][2],
    }
    return environment
