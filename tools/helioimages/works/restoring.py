"""The stage `restore`: from a crate alone, the same image and the same numbers; or what is not the same.

The crate is somebody else's: its paths lead nowhere but into it, its files must have the digests that it says, and its
notebooks run as all notebooks here do, without the network unless the person who restores allows it.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..core import archives
from ..core.errors import HelioError, Stage
from ..core.words import count, human_size
from ..engines.engine import Engine
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..smoke import books
from . import crate, folder, running, shown
from .crate import CrateRecipe
from .work import INPUTS, PATH

#: What a crate in a zip may unpack to.
_MOST_BYTES = 4 * folder.MOST_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOrder:
    """How a crate is restored.

    Attributes:
        source: its folder, or a zip of it.
        elsewhere: ``host/name`` where the image is by now; None where the crate says.
        output: gets the executed notebooks.
        network: the notebooks may reach it, if they could.
    """

    source: Path
    output: Path
    elsewhere: Reference | None
    network: bool
    options: running.WorkRunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreVerdict:
    """What came of it.

    Attributes:
        image: the reference that ran; the digest is the crate's.
        cells: that were compared.
        left_out: cells that say themselves that they are not to be compared.
        differences: for people, one a line.
        same: numbers and text are the same; figures may not be.
        figures: how many cells' figures differ.
    """

    title: str
    image: str
    notebooks: int
    cells: int
    left_out: int
    differences: tuple[str, ...]
    same: bool
    figures: int


def restore(order: RestoreOrder, engine: Engine, connect: Callable[[str], Registry]) -> RestoreVerdict:
    """Run a crate's notebooks again in the image that it names, and compare.

    Args:
        connect: opens a client of a registry, by its host.

    Raises:
        HelioError: the crate is malformed or incomplete, its image is gone, or a notebook failed.
    """
    with opened(order.source) as place:
        recipe = crate.read(_text(place, order.source), f"{order.source} at {crate.NAME}")
        _check(place, recipe)
        if recipe.network and not order.network:
            raise HelioError(
                Stage.USAGE,
                f"the notebooks of `{order.source}` read the network",
                detail="they could reach it when they were published",
                hint="say --network to let them",
            )
        reference = _reference(order, recipe, connect)
        engine.pull(reference)
        return _compared(order, engine, place, recipe, reference)


def _compared(order: RestoreOrder, engine: Engine, place: Path, recipe: CrateRecipe, reference: str) -> RestoreVerdict:
    names = [run.notebook.removeprefix(f"{INPUTS}/") for run in recipe.runs]
    paths = tuple(path.removeprefix(f"{INPUTS}/") for path in recipe.files)
    options = replace(order.options, parameters=recipe.parameters, network=recipe.network)
    differences: list[shown.Difference] = []
    cells = left_out = 0
    executed = {}
    with folder.scratch(place / INPUTS, paths) as top:
        for run, ran in zip(recipe.runs, running.run(engine, reference, top, names, options), strict=True):
            try:
                before = books.parse((place / run.executed).read_bytes())
            except books.Malformed as error:
                raise HelioError(Stage.CHECK, f"`{run.executed}` {error}", where=str(order.source)) from error
            executed[ran.path] = shown.clean(ran.node)
            compared = shown.outputs(before)
            cells += len(compared)
            left_out += sum(shows is None for shows in compared)
            differences += shown.compare(ran.path, before, ran.node)
    for path, data in executed.items():
        (order.output / path).parent.mkdir(parents=True, exist_ok=True)
        (order.output / path).write_bytes(data)
    drawn = [difference for difference in differences if difference.kind == shown.FIGURE]
    return RestoreVerdict(
        title=recipe.title,
        image=reference,
        notebooks=len(recipe.runs),
        cells=cells - left_out,
        left_out=left_out,
        differences=tuple(map(str, differences)),
        same=len(drawn) == len(differences),
        figures=len(drawn),
    )


@contextlib.contextmanager
def opened(source: Path) -> Iterator[Path]:
    """Yield the folder of a crate; what a zip held is removed at the end.

    Raises:
        HelioError: it is neither a crate's folder nor a zip of one.
    """
    if source.is_dir():
        yield source
        return
    if not zipfile.is_zipfile(source):
        raise HelioError(
            Stage.USAGE, f"`{source}` is not a crate", detail=f"expected a folder with {crate.NAME}, or a zip of one"
        )
    with tempfile.TemporaryDirectory(prefix="crate-") as name:
        _unpack(source, Path(name))
        inside = [path for path in (Path(name), *sorted(Path(name).iterdir())) if (path / crate.NAME).is_file()]
        # Archives put everything into one folder.
        yield inside[0] if inside else Path(name)


def _unpack(source: Path, target: Path) -> None:
    try:
        with archives.reading(), zipfile.ZipFile(source) as file:
            rows = [row for row in file.infolist() if not row.is_dir()]
            if (size := sum(row.file_size for row in rows)) > _MOST_BYTES or len(rows) > 4 * folder.MOST_FILES:
                detail = f"{count(len(rows), 'file')}, {human_size(size)}"
                raise HelioError(Stage.USAGE, f"`{source}` is larger than any crate", detail=detail)
            for row in rows:
                if not PATH.fits(row.filename):
                    raise HelioError(
                        Stage.CHECK,
                        f"`{source}` leads out of itself",
                        detail=f"expected {PATH.meaning} not {row.filename}",
                    )
                path = target / row.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                # No more than it says of itself is unpacked: a zip may say one size and hold another.
                with file.open(row) as stream:
                    path.write_bytes(stream.read(row.file_size))
    except (archives.ArchiveError, OSError) as error:
        raise HelioError(Stage.USAGE, f"cannot read `{source}`", detail=str(error)) from error


def _text(place: Path, source: Path) -> bytes:
    try:
        return (place / crate.NAME).read_bytes()
    except OSError as error:
        raise HelioError(
            Stage.USAGE,
            f"`{source}` is not a crate",
            detail=f"expected {crate.NAME} in it",
            hint="give the folder that `buildimages publish-work` wrote, or a zip of it",
        ) from error


def _check(place: Path, recipe: CrateRecipe) -> None:
    """Refuse a crate whose files are not those that it describes.

    Raises:
        HelioError: names the first that is not.
    """
    wanted = dict.fromkeys((run.executed for run in recipe.runs), "") | dict(recipe.files)
    for path, sha256 in wanted.items():
        file = place / path
        if not file.is_file() or not file.resolve().is_relative_to(place.resolve()):
            raise HelioError(
                Stage.CHECK, f"the crate has no `{path}`", where=crate.NAME, hint="get the whole crate again"
            )
        if path in recipe.files and not path.startswith(f"{INPUTS}/"):
            raise HelioError(
                Stage.CHECK, f"`{path}` is not where a crate has its files", detail=f"expected a path below {INPUTS}/"
            )
        if sha256 and (digest := hashlib.sha256(file.read_bytes()).hexdigest()) != sha256:
            raise HelioError(
                Stage.CHECK,
                f"`{path}` is not the file that was published",
                where=crate.NAME,
                detail=f"expected sha256:{sha256} not sha256:{digest}",
                hint="get the whole crate again",
            )


def _reference(order: RestoreOrder, recipe: CrateRecipe, connect: Callable[[str], Registry]) -> str:
    """Return where the image is, and that it is there.

    Raises:
        HelioError: the registry has it no more.
    """
    text = str(order.elsewhere) if order.elsewhere else f"{recipe.registry}/{recipe.name}"
    place = Reference.parse(f"{text.partition('@')[0]}@{recipe.digest}")
    with connect(place.host) as client:
        if client.head_manifest(place.repository, place.digest) is None:
            raise HelioError(
                Stage.CHECK,
                "the image of this work is gone",
                where=f"{place.host}/{place.repository}",
                detail=f"the registry has no {recipe.digest}",
                hint="name a registry that has it: --from HOST/NAME",
            )
    return f"{place.host}/{place.repository}@{recipe.digest}"
