"""A repository is what may be in an image; a git address is cloned at one commit, and nobody is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from git_support import git

from helioimages.core.errors import HelioError
from helioimages.extend import repository


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    folder = tmp_path / "My_Analysis.git"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "requirements.txt").write_text("sgp4\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "v1")
    (folder / "later").write_text("")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "two")
    git(folder, "branch", "side")
    return folder


def test_files_have_the_modes_of_git_and_no_history(upstream):
    (upstream / "run").write_text("")
    (upstream / "run").chmod(0o710)
    (upstream / "link").symlink_to("run")
    with repository.opened(str(upstream)) as source:
        listed = [(entry.path, entry.kind.value, oct(entry.mode)) for entry in source.files]
        assert (source.name, source.commit) == ("my-analysis", "")
    assert listed == [
        ("later", "file", "0o644"),
        ("link", "symlink", "0o777"),
        ("requirements.txt", "file", "0o644"),
        ("run", "file", "0o755"),
    ]


def test_a_clean_folder_is_named_by_its_commit(upstream):
    with repository.opened(str(upstream)) as source:
        assert source.commit == git(upstream, "rev-parse", "HEAD")


def test_what_git_ignores_is_told_and_the_folder_is_not_its_commit(upstream):
    (upstream / ".gitignore").write_text(".env\nresults\n*.log\n")
    git(upstream, "add", ".")
    git(upstream, "commit", "-qm", "three")
    with repository.opened(str(upstream)) as source:
        assert source.commit and source.warning == ""
    for path in (".env", "results/a.csv", "results/b.csv", "run.log", "new.log"):
        (upstream / path).parent.mkdir(exist_ok=True)
        (upstream / path).write_text("secret")
    with repository.opened(str(upstream)) as source:
        assert source.commit == ""
        assert {".env", "results/a.csv"} <= {entry.path for entry in source.files}
        assert source.warning == (
            "git ignores `.env`, `new.log`, `results/` and 1 more, which the image has: is it to be shared?"
        )


@pytest.mark.parametrize(("ref", "count"), [("", 2), ("v1", 1), ("side", 2)])
def test_an_address_is_cloned_at_a_commit(upstream, ref, count):
    with repository.opened(f"file://{upstream}", ref) as source:
        folder = source.folder
        assert len(source.files) == count
        assert source.commit == git(upstream, "rev-parse", ref or "HEAD")
        assert (source.name, source.source) == ("my-analysis", f"file://{upstream}")
    assert not folder.exists()


@pytest.mark.parametrize(("ref", "message"), [("v9", "has no `v9`"), ("--upload-pack=x", "has no `--upload-pack=x`")])
def test_a_ref_that_is_not_there(upstream, ref, message):
    with pytest.raises(HelioError, match=message), repository.opened(f"file://{upstream}", ref):
        pass


def test_an_address_that_cannot_be_reached_is_told_without_its_login(tmp_path):
    with pytest.raises(HelioError) as caught, repository.opened("https://me:secret@127.0.0.1:9/x.git"):
        pass
    assert caught.value.message == "cannot clone `https://127.0.0.1:9/x.git`"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "folder/../../x", "out/x"])
def test_a_link_out_of_the_repository_is_refused(tmp_path, target):
    folder = tmp_path / "work"
    (folder / "folder").mkdir(parents=True)
    if target == "out/x":
        # By another link, which is refused by itself too, but is read later.
        (folder / "zout").symlink_to(tmp_path)
        target = "zout/x"
    (folder / "a").symlink_to(target)
    with pytest.raises(HelioError) as caught, repository.opened(str(folder)):
        pass
    assert (caught.value.where, caught.value.message) == ("a", "`a` is a link out of the repository")


@pytest.mark.parametrize("target", ["folder/file", "nowhere", "a"])
def test_other_links_stay(tmp_path, target):
    folder = tmp_path / "work"
    (folder / "folder").mkdir(parents=True)
    (folder / "folder/file").write_text("")
    (folder / "a").symlink_to(target)
    with repository.opened(str(folder)) as source:
        assert source.files[0].target == target


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HelioError, match="`pipe` is not a file, folder or link"), repository.opened(str(tmp_path)):
        pass


def test_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(repository, "MOST_FILES", 2)
    for name in "abc":
        (tmp_path / name).write_text("")
    with pytest.raises(HelioError, match="too large for an image"), repository.opened(str(tmp_path)):
        pass


def test_what_is_no_repository(tmp_path):
    with pytest.raises(HelioError, match="is not a repository"), repository.opened(str(tmp_path / "x")):
        pass
    with pytest.raises(HelioError, match="`--ref main` is of an address"), repository.opened(str(tmp_path), "main"):
        pass


def test_the_digest_is_of_names_contents_and_modes(given):
    folder = given.files({"a": "x"})
    assert folder.digest == given.files({"a": "x"}).digest
    other = given.files({"a": "y"})
    assert other.digest != folder.digest
    assert other.having("a", "x").digest == folder.digest
    assert other.having("b", "x").digest != folder.digest
