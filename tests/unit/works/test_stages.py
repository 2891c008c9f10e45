"""`publish-work`, `set-doi` and `restore` with an engine that leaves what a test says, and a registry's answers."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4
from works_support import CITATION, DIGEST

from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import FIRST
from helioimages.engines.engine import RunOptions, RunResult
from helioimages.works import documents, folder, registering, restoring, running, stage
from helioimages.works import work as works
from helioimages.works.work import WorkImage, WorkSettings

REFERENCE = f"127.0.0.1:5000/base@{DIGEST}"


@dataclass
class FakeEngine:
    """Runs no cell: each notebook's one code cell shows the text told, and a file is written."""

    prints: dict[str, str] = field(default_factory=dict)
    makes: dict[str, str] = field(default_factory=dict)
    fails: dict[str, RunResult] = field(default_factory=dict)
    pulled: list[str] = field(default_factory=list)
    runs: list[tuple[list[str], RunOptions]] = field(default_factory=list)

    def pull(self, reference: str) -> None:
        self.pulled.append(reference)

    def run(self, _image: str, argv: list[str], options: RunOptions) -> RunResult:
        self.runs.append((argv, options))
        work, out = options.mounts["/work"][0], options.mounts["/out"][0]
        name = argv[-2].removeprefix("/work/")
        node = nbformat.read(work / name, as_version=4)
        text = self.prints.get(name, "1\n")
        node.cells[-1].outputs = [v4.new_output("stream", name="stdout", text=text)]
        node.metadata["papermill"] = {"start_time": str(len(self.runs))}
        nbformat.write(node, out / "executed.ipynb")
        for path, data in self.makes.items():
            (work / path).write_text(data)
        return self.fails.get(name, ended())


def ended(code: int = 0, **more: Any) -> RunResult:
    values = {"log": "the log", "seconds": 1.0, "peak_memory_bytes": None, "timed_out": False, "oom_killed": False}
    return RunResult(exit_code=code, **(values | more))


@dataclass
class Client:
    """A registry that has some manifests."""

    host: str
    there: tuple[str, ...] = (DIGEST,)

    def head_manifest(self, _repository: str, digest: str) -> str | None:
        return digest if digest in self.there else None


@contextmanager
def connected(client: Client) -> Iterator[Client]:
    yield client


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """Return a folder with two notebooks, data, and what is not published."""
    place = tmp_path / "team"
    (place / "sub").mkdir(parents=True)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for path in ("b.ipynb", "sub/a.ipynb"):
        cells = [v4.new_markdown_cell(f"# Title of {path}", id="t"), v4.new_code_cell("print(1)", id="c")]
        nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), place / path)
    (place / "CITATION.cff").write_text(CITATION)
    (place / "in.csv").write_text("1\n")
    (place / ".env").write_text("PASSWORD=1")
    (place / "__pycache__").mkdir()
    (place / "__pycache__" / "x.pyc").write_bytes(b"x")
    return place


def publish(engine: FakeEngine, team: Path, output: Path, monkeypatch: pytest.MonkeyPatch, **order: Any) -> stage.Done:
    described = WorkImage(
        registry="127.0.0.1:5000", name="base", tag="latest", digest=DIGEST, title="Base", platform=FIRST
    )
    monkeypatch.setattr(stage, "image_of", lambda *_: None)
    monkeypatch.setattr(stage, "_described", lambda *_: described)
    given = stage.WorkOrder(
        folder=team,
        output=output,
        settings=WorkSettings(authority="NASA"),
        options=running.WorkRunOptions(),
        now=0,
        push=False,
    )
    place = stage.Place(client=None, reference=None, platform=None, store=None, engine=engine)
    return stage.publish(place, dataclasses.replace(given, **order))


def files(place: Path) -> dict[str, bytes]:
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_what_is_published(team, tmp_path, monkeypatch):
    engine = FakeEngine(makes={"out.txt": "2"})
    done = publish(engine, team, tmp_path / "crate", monkeypatch)
    assert (done.notebooks, done.image, engine.pulled) == (2, REFERENCE, [REFERENCE])
    crate = files(tmp_path / "crate")
    assert {name for name in crate if not name.startswith("spase/")} == {
        *("CITATION.cff", "datacite.json", "ro-crate-metadata.json", "work.json"),
        *("work/CITATION.cff", "work/b.ipynb", "work/in.csv", "work/sub/a.ipynb"),
        *("executed/b.ipynb", "executed/sub/a.ipynb", "made/out.txt"),
    }
    made = works.parse(crate["work.json"])
    assert [book.title for book in made.books] == ["Title of b.ipynb", "Title of sub/a.ipynb"]
    # The second wrote the same once more: it is the first one's.
    assert [book.made for book in made.books] == [("made/out.txt",), ()]
    assert made.settings.measurements == ("MagneticField",)
    assert made.when == "2026-11-21T00:00:00Z"


def test_a_container_is_given_the_folder_and_no_more(team, tmp_path, monkeypatch):
    engine = FakeEngine()
    options = running.WorkRunOptions(parameters={"b": "2", "a": "x y"})
    publish(engine, team, tmp_path / "crate", monkeypatch, options=options)
    argv, given = engine.runs[1]
    assert argv == [
        *("python", "-m", "papermill", "--no-progress-bar", "--cwd", "/work/sub", "-p", "a", "x y", "-p", "b", "2"),
        *("/work/sub/a.ipynb", "/out/executed.ipynb"),
    ]
    assert (given.user, given.network, given.workdir, given.gpus) == ("1000", "none", "/work/sub", None)
    assert {where: mode for where, (_, mode) in given.mounts.items()} == {"/work": "rw", "/out": "rw"}
    assert not given.mounts["/work"][0].exists()
    assert files(team)["in.csv"] == b"1\n"


def test_the_same_twice_is_the_same_to_the_byte(team, tmp_path, monkeypatch):
    for name in ("one", "two"):
        publish(FakeEngine(), team, tmp_path / name, monkeypatch, now=len(name))
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize(
    ("epoch", "released", "when"),
    [
        ("86400", "2026-01-01", "1970-01-02T00:00:00Z"),
        ("", "2026-01-01", "2026-01-01T00:00:00Z"),
        ("", "", "1970-01-01T00:00:05Z"),
    ],
)
def test_when_it_is_published(monkeypatch, epoch, released, when):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    said = stage.Citation(title="a", authors=(), licenses=(), released=released)
    assert stage.when(5.9, said) == when


def test_an_epoch_that_is_none(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "now")
    with pytest.raises(HelioError, match="SOURCE_DATE_EPOCH=now is not a time"):
        stage.when(0, stage.Citation(title="a", authors=(), licenses=()))


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (ended(1), "`b.ipynb` failed"),
        (ended(124, timed_out=True), "`b.ipynb` took too long"),
        (ended(137, oom_killed=True), "`b.ipynb` needs more memory"),
    ],
)
def test_a_notebook_that_fails_publishes_nothing(team, tmp_path, monkeypatch, ended, message):
    engine = FakeEngine(fails={"b.ipynb": ended})
    with pytest.raises(HelioError) as caught:
        publish(engine, team, tmp_path / "crate", monkeypatch)
    assert (caught.value.stage, caught.value.message, caught.value.where) == (Stage.SMOKE, message, REFERENCE)
    assert "the log" in caught.value.detail
    assert len(engine.runs) == 1
    assert not (tmp_path / "crate").exists()


def test_folders_that_cannot_be_published(team, tmp_path, monkeypatch):
    def refused() -> HelioError:
        engine = FakeEngine()
        with pytest.raises(HelioError) as caught:
            publish(engine, team, tmp_path / "crate", monkeypatch)
        assert engine.runs == [] and not (tmp_path / "crate").exists()
        return caught.value

    (team / "link.csv").symlink_to("/etc/hostname")
    assert (refused().stage, refused().message) == (Stage.USAGE, "`link.csv` is a link or a special file")
    (team / "link.csv").unlink()
    os.mkfifo(team / "pipe")
    assert refused().message == "`pipe` is a link or a special file"
    (team / "pipe").unlink()
    monkeypatch.setattr(folder, "MOST_BYTES", 10)
    assert "is too large to be published" in refused().message
    monkeypatch.undo()
    (team / "CITATION.cff").write_text("title: [")
    assert (refused().stage, refused().message) == (Stage.SPEC, f"cannot read `{team}/CITATION.cff`")
    (team / "CITATION.cff").unlink()
    assert refused().message == f"`{team}/CITATION.cff` is not there"
    for path in team.rglob("*.ipynb"):
        path.unlink()
    assert (refused().stage, refused().message) == (Stage.USAGE, f"`{team}` has no notebooks")


def test_a_notebook_that_is_none(team, tmp_path, monkeypatch):
    (team / "b.ipynb").write_text("{}")
    with pytest.raises(HelioError, match=r"`b\.ipynb` is JSON but no notebook"):
        publish(FakeEngine(), team, tmp_path / "crate", monkeypatch)


def test_a_folder_of_somebody_else_is_not_replaced(team, tmp_path, monkeypatch):
    (tmp_path / "crate").mkdir()
    (tmp_path / "crate" / "thesis.tex").write_text("all of it")
    with pytest.raises(HelioError, match="is not empty, and no crate"):
        publish(FakeEngine(), team, tmp_path / "crate", monkeypatch)


def test_a_crate_is_replaced_and_what_else_is_there_stays(team, tmp_path, monkeypatch):
    publish(FakeEngine(makes={"out.txt": "2"}), team, tmp_path / "crate", monkeypatch)
    (tmp_path / "crate" / "note.txt").write_text("mine")
    (team / "in.csv").unlink()
    publish(FakeEngine(), team, tmp_path / "crate", monkeypatch)
    left = files(tmp_path / "crate")
    assert "note.txt" in left and not {"work/in.csv", "made/out.txt"} & left.keys()


@pytest.mark.parametrize("name", ["_work", "crate", "sub/out"])
def test_a_crate_in_the_folder_itself_is_not_published_again(team, monkeypatch, name):
    """Its executed notebooks would be run as the team's."""
    for _ in range(2):
        publish(FakeEngine(), team, team / name, monkeypatch)
    publish(FakeEngine(), team, team / "other", monkeypatch)
    for crate in (team / name, team / "other"):
        made = works.parse((crate / "work.json").read_bytes())
        assert [book.path for book in made.books] == ["work/b.ipynb", "work/sub/a.ipynb"]
        assert len(made.inputs) == 4


# -- set-doi ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doi", ["10.5281/zenodo.1", "https://doi.org/10.5281/zenodo.1", "doi:10.5281/zenodo.1"])
def test_a_doi_is_in_the_documents_and_changes_nothing_else(team, tmp_path, monkeypatch, doi):
    crate = tmp_path / "crate"
    publish(FakeEngine(), team, crate, monkeypatch)
    before = files(crate)
    told = registering.with_doi(crate, doi)
    after = files(crate)
    assert told.work.id == works.parse(before["work.json"]).id
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed <= documents.of(told.work).keys()
    assert {"CITATION.cff", "datacite.json", "ro-crate-metadata.json", "work.json"} <= changed
    assert json.loads(after["datacite.json"])["doi"] == "10.5281/zenodo.1"


@pytest.mark.parametrize(("doi", "message"), [("zenodo.1", "`zenodo.1` is no DOI"), ("10.1234/a", "is not a crate of")])
def test_what_gets_no_doi(tmp_path, doi, message):
    with pytest.raises(HelioError, match=message):
        registering.with_doi(tmp_path, doi)


# -- restore ----------------------------------------------------------------------------------------------------------


def restore(engine: FakeEngine, source: Path, tmp_path: Path, **order: Any) -> restoring.RestoreVerdict:
    there = order.pop("there", (DIGEST,))
    given = restoring.RestoreOrder(
        source=source, output=tmp_path / "again", elsewhere=None, network=False, options=running.WorkRunOptions()
    )
    return restoring.restore(
        dataclasses.replace(given, **order), engine, lambda host: connected(Client(host=host, there=there))
    )


@pytest.fixture
def crate(team, tmp_path, monkeypatch) -> Path:
    options = running.WorkRunOptions(parameters={"year": "2024"})
    publish(
        FakeEngine(), team, tmp_path / "crate", monkeypatch, options=options,
        settings=WorkSettings(authority="NASA", parameters={"year": "2024"}),
    )  # fmt: skip
    return tmp_path / "crate"


def zipped(crate: Path, target: Path, top: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as file:
        for name, data in files(crate).items():
            file.writestr(f"{top}{name}", data)
    return target


@pytest.mark.parametrize("form", ["folder", "zip", "zip with a folder"])
def test_the_same_again(crate, tmp_path, form):
    source = crate
    if form != "folder":
        source = zipped(crate, tmp_path / "crate.zip", "deposit/" if "with" in form else "")
    engine = FakeEngine()
    verdict = restore(engine, source, tmp_path)
    assert (verdict.same, verdict.differences, verdict.cells, verdict.notebooks) == (True, (), 2, 2)
    assert (verdict.image, engine.pulled) == (REFERENCE, [REFERENCE])
    assert [argv[-2] for argv, _ in engine.runs] == ["/work/b.ipynb", "/work/sub/a.ipynb"]
    assert engine.runs[0][0][6:9] == ["-p", "year", "2024"]
    assert files(tmp_path / "again").keys() == {"b.ipynb", "sub/a.ipynb"}


def test_other_numbers(crate, tmp_path):
    verdict = restore(FakeEngine(prints={"sub/a.ipynb": "1.5\n"}), crate, tmp_path)
    assert not verdict.same
    assert verdict.differences == ("sub/a.ipynb cell 0: text `1` became `1.5`",)


def test_an_image_that_is_gone(crate, tmp_path):
    engine = FakeEngine()
    with pytest.raises(HelioError) as caught:
        restore(engine, crate, tmp_path, there=())
    assert (caught.value.stage, caught.value.message) == (Stage.CHECK, "the image of this work is gone")
    assert (caught.value.where, caught.value.detail) == ("127.0.0.1:5000/base", f"the registry has no {DIGEST}")
    assert engine.pulled == []


def test_an_image_that_is_elsewhere_by_now(crate, tmp_path):
    elsewhere = stage.Reference.parse("mirror.example:5000/org/base:latest")
    assert restore(FakeEngine(), crate, tmp_path, elsewhere=elsewhere).image == f"mirror.example:5000/org/base@{DIGEST}"


def test_files_that_are_not_those_that_were_published(crate, tmp_path):
    (crate / "work" / "in.csv").write_text("2\n")
    with pytest.raises(HelioError, match=r"`work/in\.csv` is not the file that was published"):
        restore(FakeEngine(), crate, tmp_path)
    (crate / "work" / "in.csv").unlink()
    with pytest.raises(HelioError, match=r"the crate has no `work/in\.csv`"):
        restore(FakeEngine(), crate, tmp_path)
    (crate / "work" / "in.csv").symlink_to("/etc/hostname")
    with pytest.raises(HelioError, match=r"the crate has no `work/in\.csv`"):
        restore(FakeEngine(), crate, tmp_path)


def test_notebooks_that_had_the_network_get_it_only_if_one_says_so(team, tmp_path, monkeypatch):
    settings = WorkSettings(authority="NASA", network=True)
    publish(FakeEngine(), team, tmp_path / "crate", monkeypatch, settings=settings)
    with pytest.raises(HelioError) as caught:
        restore(FakeEngine(), tmp_path / "crate", tmp_path)
    assert caught.value.hint == "say --network to let them"
    engine = FakeEngine()
    assert restore(engine, tmp_path / "crate", tmp_path, network=True).same
    assert {given.network for _, given in engine.runs} == {"bridge"}


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out"])
def test_a_zip_that_leads_out_of_itself(crate, tmp_path, name):
    source = zipped(crate, tmp_path / "crate.zip")
    with zipfile.ZipFile(source, "a") as file:
        file.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(HelioError, match="leads out of itself"):
        restore(FakeEngine(), source, tmp_path)


def test_a_zip_that_unpacks_to_more_than_any_crate(crate, tmp_path, monkeypatch):
    monkeypatch.setattr(restoring, "_MOST_BYTES", 100)
    with pytest.raises(HelioError, match="is larger than any crate"):
        restore(FakeEngine(), zipped(crate, tmp_path / "crate.zip"), tmp_path)


def test_what_is_no_crate(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("a")
    broken = io.BytesIO()
    with zipfile.ZipFile(broken, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("ro-crate-metadata.json", "{}" * 1000)
    data = bytearray(broken.getvalue())
    data[60] ^= 0xFF
    (tmp_path / "broken.zip").write_bytes(data)
    for name, message in (
        ("empty", "is not a crate"),
        ("text", "is not a crate"),
        ("none", "is not a crate"),
        ("broken.zip", "cannot read"),
    ):
        with pytest.raises(HelioError, match=message):
            restore(FakeEngine(), tmp_path / name, tmp_path)


def test_an_executed_notebook_that_is_none(crate, tmp_path):
    (crate / "executed" / "b.ipynb").write_text("")
    with pytest.raises(HelioError, match=r"`executed/b\.ipynb` is empty"):
        restore(FakeEngine(), crate, tmp_path)
