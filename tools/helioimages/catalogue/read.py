"""Read a catalogue from a registry: tags, manifests, configs and what refers to them. Every byte is verified.

What an image lacks is said, not guessed: one without an SBOM has the packages that its history names, marked as not
whole. A malformed document of one image is a fault of that image and stops nobody else's.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..core import threads
from ..core.digest import key_of
from ..core.errors import HelioError, Stage
from ..core.near import meant
from ..core.package import Package
from ..core.progress import bar, say
from ..core.reading import Form, Shape, load_json
from ..core.words import count
from ..machine.store import Store
from ..oci import document
from ..oci.image import Image
from ..oci.registry import Registry
from ..oci.types import INDEX, MANIFEST, OCI_NAME, ImageIndex, Manifest
from ..publish import push, referrers, weights
from ..publish.contents import Contents, from_history, layer_titles
from ..publish.referrers import ENVELOPE, SIGNATURE, TITLE, Artifact
from ..publish.weights import Weights
from ..smoke import books, rendered
from ..spec import yanks as yanked
from ..works.attached import Shelf
from . import weight, works
from .delta import LayerRef
from .licences import spdx
from .model import (
    FACTS,
    Attached,
    Catalogue,
    CatalogueEntry,
    File,
    ImagePage,
    Notebook,
    Smoke,
    newest_entries_first,
    order_tags,
    package_row,
)

#: What a fact is read from where the label is missing, as in other projects' images.
_FACT_PACKAGES = {"python": "python", "jupyterhub": "jupyterhub", "jupyterlab": "jupyterlab", "dask": "dask"}
_MOST_REPORT_BYTES = 64 << 20
#: Documents that the site has, if they are small; what names every file of an image is in the registry.
_DOCUMENTS = {"sbom": "an SBOM", "packages": "a package list", "provenance": "its provenance"}
_MOST_DOCUMENT_BYTES = 1 << 20
#: What is shown of an image, and what people call it.
_SHOWN = {"sbom": "an SBOM", "packages": "a package list", "weight": "its weight", "smoke": "a smoke report"}
_MOST_WEIGHT_BYTES = 4 << 20
_REPORT = Form(stage=Stage.CHECK, comma=False, null_is_absent=True, json=True)
_STATUS = Shape.of("passed|failed|timeout|oom", "one of passed, failed, timeout, oom")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueSource:
    """Where images are read from, and what this checkout knows about them.

    Attributes:
        prefix: before image names, e.g. ``heliocloud/``.
        known: lock digest -> contents.
        yanks: image -> entries of its yanked.toml.
        keep: told the bytes, the name and the artifact's digest of each report file; returns its path in the site.
        verify: told a payload and its signature, or a Sigstore bundle or an envelope and nothing; returns the digest
            that it names if the signature is good, and those of the documents that it vouches for. None where there is
            no key to check with.
    """

    client: Registry
    store: Store
    prefix: str = ""
    known: Mapping[str, Contents]
    yanks: Mapping[str, tuple[yanked.Yank, ...]]
    keep: Callable[[bytes, str, str], str] = lambda _data, _name, _group: ""
    verify: Callable[[bytes, str], tuple[str, frozenset[str]]] | None = None


def read(source: CatalogueSource, names: Sequence[str], *, jobs: int = 8) -> Catalogue:
    """Read the images of a registry; a repository without tags is left out, and said.

    Raises:
        HelioError: the registry refuses, or none of the images is there.
    """
    pages = []
    near: list[str] = []
    for name in names:
        page = _page(source, name, jobs)
        if page is None:
            near.append(meant(source.prefix + name, source.client.repositories()))
            say(f"warning: {source.client.host}/{source.prefix}{name} has no images{near[-1] and f': {near[-1]}'}")
        else:
            pages.append(page)
    if not pages:
        raise HelioError(
            Stage.USAGE,
            f"the registry `{source.client.host}` has none of the images",
            detail=f"looked for {', '.join(source.prefix + name for name in names)}",
            hint=next(filter(None, near), "publish first (`buildimages publish`), or name the repositories"),
        )
    return Catalogue(registry=source.client.host, images=tuple(pages))


def _page(source: CatalogueSource, name: str, jobs: int) -> ImagePage | None:
    repository = source.prefix + name
    digests = push.existing_tags(source.client, repository, jobs=jobs)
    if not digests:
        return None
    all_tags = frozenset(source.client.tags(repository))
    by_digest: dict[str, list[str]] = {}
    for tag, digest in digests.items():
        by_digest.setdefault(digest, []).append(tag)
    entries: list[CatalogueEntry] = []
    labels: dict[str, Mapping[str, str]] = {}

    def read_image(named: str) -> list[tuple[CatalogueEntry, Mapping[str, str]]]:
        labelled = []
        try:
            images = _images(source, repository, named)
        except HelioError as error:
            # A chart or another artifact with a tag of its own; what the registry itself refuses is not hidden.
            if error.stage is not Stage.BUILD:
                raise
            say(f"warning: {repository}:{by_digest[named][0]} is left out: {error.message}")
            return []
        for image in images:
            entry = _entry(source, repository, named, image, by_digest[named], all_tags)
            labelled.append((entry, image.config.labels))
        return labelled

    with bar(f"catalogue of {name}", len(by_digest), unit="build") as advance, threads.pool(jobs) as pool:
        for rows in pool.map(read_image, by_digest):
            advance(1)
            for entry, image_labels in rows:
                entries.append(entry)
                labels[entry.digest] = image_labels
    if not entries:
        return None
    ordered = newest_entries_first(sorted(entries, key=lambda entry: entry.digest))
    image_labels = labels[ordered[0].digest]
    return ImagePage(
        name=name,
        repository=repository,
        title=image_labels.get("org.opencontainers.image.title", "") or name,
        description=image_labels.get("org.opencontainers.image.description", ""),
        entries=ordered,
    )


def _images(source: CatalogueSource, repository: str, named: str) -> list[Image]:
    """Return the images under a digest: one, or one a platform of an index."""
    media_type, data = _document(source, repository, named)
    if OCI_NAME.get(media_type, media_type) == INDEX:
        images = []
        for child in ImageIndex.parse(data, f"{repository}@{named}").manifests:
            # BuildKit lists its attestations as images of an unknown platform.
            if child.platform is not None and child.platform.os != "unknown":
                images += _images(source, repository, child.digest)
        return images
    manifest = Manifest.parse(data, f"{repository}@{named}")
    return [Image.of(data, referrers.read_blob(source.client, repository, manifest.config, source.store), repository)]


def _document(source: CatalogueSource, repository: str, digest: str) -> tuple[str, bytes]:
    data = source.store.read_blob(digest)
    if data is not None:
        where = f"{repository}@{digest}"
        table = document.node(document.load(data, where), where)
        return table.text("mediaType", "") or (INDEX if "manifests" in table.names() else MANIFEST), data
    answer = source.client.get_manifest(repository, digest)
    if answer is None:
        raise HelioError(
            Stage.PUBLISH,
            f"the registry lists {digest} but does not have it",
            where=f"{source.client.host}/{repository}",
        )
    source.store.put_blob(answer[1])
    return answer[0].media_type, answer[1]


def _entry(
    source: CatalogueSource, repository: str, named: str, image: Image, tags: Iterable[str], all_tags: frozenset[str]
) -> CatalogueEntry:
    name = repository.removeprefix(source.prefix)
    faults: list[str] = []
    artifacts: tuple[Artifact, ...] = ()
    try:
        for digest in dict.fromkeys((image.digest, named)):
            artifacts += referrers.artifacts(source.client, repository, digest, tags=all_tags, store=source.store)
    except HelioError as error:
        faults.append(f"what refers to it cannot be read: {error.message}")
    signature, good = _signed(source, repository, image.digest, artifacts, faults)
    contents = _contents(source, repository, image, good, faults)
    labels = image.config.labels
    by_name = {package.name: package.version for package in contents.packages if package.kind != "debian"}
    facts = {key: labels[label] for key, label in FACTS.items() if labels.get(label)}
    facts |= {
        key: by_name[package] for key, package in _FACT_PACKAGES.items() if key not in facts and package in by_name
    }
    smoke, attached = _attached(source, repository, good, faults)
    weighed = _weights(source, repository, image, good, faults)
    unpacked = weighed.unpacked if weighed else (0,) * len(image.layers)
    shelf = Shelf(client=source.client, repository=repository, store=source.store)
    # Anybody who may push hangs works on an image: they are their authors', whoever signed the image.
    published = works.of_image(shelf, artifacts, source.keep, faults)
    ordered = order_tags(tags)
    return CatalogueEntry(
        image=name,
        digest=image.digest,
        named=named,
        platform=image.config.platform,
        tags=ordered,
        created=image.config.created,
        facts=facts,
        layers=tuple(
            LayerRef(digest=layer.digest, size=layer.size, name=title, unpacked=tar)
            for layer, title, tar in zip(image.layers, layer_titles(image.config), unpacked, strict=True)
        ),
        config=(image.manifest.config.digest, image.manifest.config.size),
        contents=contents,
        attached=attached,
        smoke=smoke,
        works=published,
        weight=_weighed(image, weighed) if weighed else None,
        signature=signature,
        advisory=_advisory(source.yanks.get(name, ()), ordered, (image.digest, named)),
        faults=tuple(faults),
    )


def _advisory(yanks: Sequence[yanked.Yank], tags: Sequence[str], digests: Sequence[str]) -> yanked.Yank | None:
    hits = [hit for digest in digests if (hit := yanked.find(yanks, tags=tags, digest=digest)) is not None]
    return min(hits, key=lambda yank: yanked.LEVELS.index(yank.level), default=None)


def _signed(
    source: CatalogueSource, repository: str, digest: str, artifacts: Collection[Artifact], faults: list[str]
) -> tuple[str, tuple[Artifact, ...]]:
    """Return the state of an image's signature, and the artifacts that may be shown.

    Where the key signed the image, SBOMs, package lists and reports that it did not sign are another's, and are not.
    """
    signed = any(artifact.kind == "signature" for artifact in artifacts)
    if source.verify is None or not signed:
        return ("attached" if signed else "none"), tuple(artifacts)
    state, vouched = "bad", frozenset[str]()
    for artifact in artifacts:
        for file in artifact.files:
            text = file.annotations.get(SIGNATURE, "")
            if not (text or "sigstore.bundle" in file.media_type or file.media_type == ENVELOPE):
                continue
            data = referrers.read_blob(source.client, repository, file, source.store)
            named, documents = source.verify(data, text)
            if named == digest:
                vouched |= documents
                state = "verified" if artifact.kind == "signature" else state
    if state == "bad":
        faults.append("it is signed, but not with the given key")
        return state, tuple(artifacts)
    good = []
    for artifact in artifacts:
        if artifact.kind in _SHOWN and not {file.digest for file in artifact.files} <= vouched:
            faults.append(
                f"{_SHOWN[artifact.kind]} of {artifact.created or 'no date'} is not signed with the given key"
            )
        else:
            good.append(artifact)
    return state, tuple(good)


def _contents(
    source: CatalogueSource, repository: str, image: Image, artifacts: Iterable[Artifact], faults: list[str]
) -> Contents:
    sboms = [artifact for artifact in artifacts if artifact.kind in ("sbom", "packages")]
    key = key_of(["contents", 2, sorted(sbom.digest for sbom in sboms)])
    if sboms and (known := source.store.recall("contents", key)) is not None:
        packages = tuple(Package(**row) for row in known["packages"])
        return _told(Contents(packages=packages, source=known["source"], complete=True))
    try:
        contents = referrers.contents_of(source.client, repository, sboms, source.store)
    except HelioError as error:
        faults.append(f"its packages cannot be read: {_placed(error)}")
        contents = None
    if contents is not None:
        rows = [package_row(package) for package in contents.packages]
        source.store.remember("contents", key, {"packages": rows, "source": contents.source})
        return _told(contents)
    return source.known.get(image.config.labels.get("io.helioimages.lock", "")) or from_history(image.config)


def _placed(error: HelioError) -> str:
    """Return what is wrong with a document, and where in it."""
    return ": ".join(filter(None, (error.where, error.detail or error.message)))


def _told(contents: Contents) -> Contents:
    """Return contents with licences as SPDX writes them, for whoever searches."""
    told = (replace(package, licenses=spdx(package.licenses)) for package in contents.packages)
    return replace(contents, packages=tuple(told))


def _weights(
    source: CatalogueSource, repository: str, image: Image, artifacts: Iterable[Artifact], faults: list[str]
) -> Weights | None:
    """Return what is written down of an image's packages and layers; None where nothing of this image is."""
    best: Weights | None = None
    for artifact in artifacts:
        where = f"{source.client.host}/{repository}@{artifact.digest}"
        for file in artifact.files if artifact.kind == "weight" else ():
            try:
                if file.size > _MOST_WEIGHT_BYTES:
                    raise HelioError(Stage.CHECK, f"{where} has {count(file.size, 'byte')}")
                known = weights.parse(referrers.read_blob(source.client, repository, file, source.store), where)
                if len(known.unpacked) != len(image.layers):
                    raise HelioError(Stage.CHECK, f"{where} is of another image")
            except HelioError as error:
                faults.append(f"what it weighs cannot be read: {error.detail or error.message}")
                continue
            best = known if best is None or known.needs.whole > best.needs.whole else best
    return best


def _weighed(image: Image, known: Weights) -> weight.Weight:
    layers = weight.Layers(size=sum(layer.size for layer in image.layers), unpacked=sum(known.unpacked))
    return weight.weight(layers, known.line, known.owners, known.needs)


def _attached(
    source: CatalogueSource, repository: str, artifacts: Iterable[Artifact], faults: list[str]
) -> tuple[Smoke | None, tuple[Attached, ...]]:
    """Return the smoke report, and every artifact: the report's files and small documents are copied into the site."""
    smoke: Smoke | None = None
    shown: tuple[Attached, dict[str, bytes]] | None = None
    rows = []
    for artifact in artifacts:
        texts: dict[str, bytes] = {}
        files = []
        for file in artifact.files:
            name = file.annotations.get(TITLE, "").rpartition("/")[2]
            path = ""
            try:
                if artifact.kind == "smoke" and name and file.size <= _MOST_REPORT_BYTES:
                    texts[name] = referrers.read_blob(source.client, repository, file, source.store)
                    path = source.keep(texts[name], name, artifact.digest)
                elif artifact.kind in _DOCUMENTS and file.size <= _MOST_DOCUMENT_BYTES:
                    data = referrers.read_blob(source.client, repository, file, source.store)
                    # Whoever may push names it: a page must not come of it.
                    path = source.keep(
                        data, name if name.endswith(".json") else f"{artifact.kind}.json", artifact.digest
                    )
            except HelioError as error:
                of = "its smoke report" if artifact.kind == "smoke" else _DOCUMENTS[artifact.kind]
                faults.append(f"{name or 'a file'} of {of} cannot be read: {error.message}")
            files.append(File(name=name, media_type=file.media_type, digest=file.digest, size=file.size, path=path))
        rows.append(Attached(kind=artifact.kind, type=artifact.type, digest=artifact.digest, files=tuple(files)))
        if "report.json" in texts:
            try:
                report = read_smoke(texts["report.json"])
            except HelioError as error:
                faults.append(f"its smoke report cannot be read: {_placed(error)}")
            else:
                smoke = _smoke(source, rows[-1], texts, report)
                shown = rows[-1], texts
    # Pages are made of the report that is shown, not of those before it.
    return (_with_pages(source, smoke, *shown) if smoke and shown else smoke), tuple(rows)


def _smoke(source: CatalogueSource, attached: Attached, texts: Mapping[str, bytes], report: Smoke) -> Smoke:
    """Return a report with the paths of its page, notebooks and pictures in the site."""
    paths = {file.name: file.path for file in attached.files}
    notebooks = [
        replace(
            notebook,
            path=paths.get(notebook.path, ""),
            figures=_figures(source, texts[notebook.path], notebook.path, attached.digest)
            if notebook.path in texts
            else (),
        )
        for notebook in report.notebooks
    ]
    return replace(report, notebooks=tuple(notebooks), report=paths.get("report.html", ""))


def _with_pages(source: CatalogueSource, smoke: Smoke, attached: Attached, texts: Mapping[str, bytes]) -> Smoke:
    """Return a report with a page of each notebook in the site; what is not a notebook, or is not copied, has none."""
    names = {file.path: file.name for file in attached.files if file.path}
    notebooks = []
    for notebook in smoke.notebooks:
        page, name = "", names.get(notebook.path, "")
        if name:
            with contextlib.suppress(books.Malformed):
                text = rendered.page(texts[name], notebook.title, notebook.path.rpartition("/")[2])
                page = source.keep(text.encode(), rendered.name_of(name), attached.digest)
        notebooks.append(replace(notebook, page=page))
    return replace(smoke, notebooks=tuple(notebooks))


def read_smoke(data: bytes) -> Smoke:
    """Read ``report.json``, version 1; ``path`` of a notebook is its file name as yet.

    Raises:
        HelioError: it is not such a report.
    """
    top = load_json(data, "report.json", _REPORT)
    top.version("version", 1)
    return Smoke(
        passed=top.flag("passed"),
        notebooks=tuple(
            Notebook(
                name=table.text("name"),
                title=table.text("title"),
                status=table.text("status", shape=_STATUS),
                seconds=table.number("seconds", minimum=0),
                peak_memory_bytes=table.whole_or_none("peak_memory_bytes", minimum=0),
                path=table.text("notebook"),
            )
            for table in top.tables("notebooks", required=True)
        ),
    )


def _figures(source: CatalogueSource, notebook: bytes, name: str, group: str) -> tuple[str, ...]:
    """Return the pictures of an executed notebook, as files of the site."""
    paths: list[str] = []
    try:
        for cell in json.loads(notebook).get("cells", ()):
            for output in cell.get("outputs", ()):
                data = output.get("data", {}).get("image/png")
                if data:
                    text = "".join(data) if isinstance(data, list) else data
                    png = base64.b64decode(text)
                    stem = name.removesuffix(".ipynb")
                    paths.append(source.keep(png, f"{stem}-{len(paths) + 1}.png", group))
    except (ValueError, binascii.Error, AttributeError, TypeError, RecursionError):
        return tuple(paths)
    return tuple(path for path in paths if path)
