"""Repositories as other machines and habits leave them: read as meant, or refused by what is odd."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.extend import binder, repository

PROJECT = b'[project]\nname = "x"\nversion = "1"\n'


def asked(folder: Path, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with repository.opened(str(folder)) as source:
        return binder.read(source)


def fault(folder: Path, files) -> HelioError:
    with pytest.raises(HelioError) as caught:
        asked(folder, files)
    return caught.value


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_requirements_that_windows_shell_wrote(tmp_path, encoding):
    """`pip freeze > requirements.txt` in PowerShell; pip reads it, too."""
    got = asked(tmp_path, {"requirements.txt": "\ufeffnumpy\r\nsgp4\r\n".encode(encoding)})
    assert [requirement.text for requirement in got.requirements] == ["numpy", "sgp4"]


def test_another_encoding_is_refused_at_its_line(tmp_path):
    error = fault(tmp_path, {"requirements.txt": "numpy\nscipy # für\n".encode("latin-1")})
    assert (error.message, error.where) == ("`requirements.txt` is not UTF-8", "requirements.txt line 2")


@pytest.mark.parametrize("line", [b"-e .", b"-e file:.", b"--editable=file:."])
def test_the_repository_itself_is_asked_for_once(tmp_path, line):
    got = asked(tmp_path, {"requirements.txt": line, "pyproject.toml": PROJECT})
    assert [project.folder for project in got.projects] == ["."]


@pytest.mark.parametrize(
    ("line", "hint"),
    [(b"-e .\\sub", "write ./sub"), (b"-r req\\a.txt", "write req/a.txt"), (b"-c c\\d.txt", "write c/d.txt")],
)
def test_a_path_of_windows(tmp_path, line, hint):
    error = fault(tmp_path, {"requirements.txt": line, "req/a.txt": b"numpy", "sub/pyproject.toml": PROJECT})
    assert (error.where, error.hint) == ("requirements.txt line 1", hint)
    assert "is a path of Windows" in error.message


@pytest.mark.parametrize("line", [b"./x-1-py3-none-any.whl", b"-e ./x.tar.gz"])
def test_a_package_in_a_file(tmp_path, line):
    assert "is a file of its own" in fault(tmp_path, {"requirements.txt": line}).message


def test_a_list_of_condas(tmp_path):
    error = fault(tmp_path, {"requirements.txt": b"# platform: linux-64\nnumpy=2.1.0=py313_0\n"})
    assert (error.where, error.hint) == ("requirements.txt line 2", "write numpy==2.1.0")


def test_a_file_called_binder_is_no_folder_of_configuration(tmp_path):
    got = asked(tmp_path, {"binder": b"words", "requirements.txt": b"numpy"})
    assert (got.configuration, [requirement.text for requirement in got.requirements]) == ("", ["numpy"])


def test_a_name_that_binder_does_not_read_is_told(tmp_path):
    assert asked(tmp_path, {"environment.yaml": b"dependencies: [numpy]\n"}).notes == (
        "environment.yaml is not read, as Binder does not: the name is environment.yml",
    )


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_a_mark_before_the_first_line_of_a_program(tmp_path, name):
    error = fault(tmp_path, {name: b"\xef\xbb\xbf#!/bin/bash\n"})
    assert (error.message, error.where) == (
        f"`{name}` has a mark before its first line, and does not run",
        f"{name} line 1",
    )


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"pyproject.toml": b'[tool.poetry]\nname = "x"\n'}, "pyproject.toml"),
        ({"setup.cfg": b"[metadata]\nname = x\n"}, "setup.cfg"),
    ],
)
def test_a_package_that_says_no_way_to_build_it_is_told(tmp_path, files, named):
    (note,) = asked(tmp_path, files).notes
    assert note.startswith(f"{named} is not read, as Binder does not")
    # A linter's settings beside what is asked for are nobody's package.
    assert asked(tmp_path / "other", {**files, "requirements.txt": b"numpy\n"}).notes == ()


def test_a_file_that_is_a_link_to_nothing_is_told_without_a_path_of_this_machine(tmp_path):
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "requirements.txt").symlink_to("nothing.txt")
    with pytest.raises(HelioError) as caught:
        asked(tmp_path / "place", {})
    assert "requirements.txt" in caught.value.where and str(tmp_path) not in str(caught.value)


def test_names_that_are_no_text_are_refused(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    (place / os.fsdecode(b"caf\xe9.csv")).write_text("")
    error = fault(place, {})
    assert error.message == "`caf\\udce9.csv` has a name that is not UTF-8"
    str(error).encode()


def test_a_link_to_a_name_that_is_no_text(tmp_path):
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "a").symlink_to(os.fsdecode(b"caf\xe9.csv"))
    error = fault(tmp_path / "place", {})
    assert (error.where, error.message) == ("a", "`a` leads to 'caf\\udce9.csv'")


def test_a_name_that_takes_files_away_in_an_image(tmp_path):
    assert fault(tmp_path, {"data/.wh.a": b""}).where == "data/.wh.a"


def test_a_name_with_a_newline_is_one(tmp_path):
    (tmp_path / "two\nlines.txt").write_text("")
    with repository.opened(str(tmp_path)) as taken:
        assert [entry.path for entry in taken.files] == ["two\nlines.txt"]


@pytest.mark.parametrize("size", [repository.MOST_FILE_BYTES + 1, 1 << 40])
def test_a_huge_file_is_refused_before_it_is_read(tmp_path, size, monkeypatch):
    (tmp_path / "data").mkdir()
    with (tmp_path / "data/big.cdf").open("wb") as file:
        file.truncate(size)
    monkeypatch.setattr(repository, "of_file", lambda path: pytest.fail(f"{path} was read"))
    error = fault(tmp_path, {})
    assert (error.message, error.where) == ("`data/big.cdf` is too large for an image", "data/big.cdf")


def test_a_folder_without_files(tmp_path):
    assert fault(tmp_path, {}).message == f"`{tmp_path.name}` has no files"


@pytest.mark.parametrize(("reads", "name"), [("os.scandir", "closed"), ("repository.of_file", "closed/a")])
def test_what_cannot_be_read_is_told(tmp_path, monkeypatch, reads, name):
    """Root reads everything, so the system's answer is made up."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "a").write_text("")
    where, _, function = reads.partition(".")
    module = {"os": os, "repository": repository}[where]
    usual = getattr(module, function)

    def refused(path):
        if str(path) == str(tmp_path / name):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path)

    monkeypatch.setattr(module, function, refused)
    error = fault(tmp_path, {})
    assert (error.message, error.detail) == (f"cannot read `{name}`", "Permission denied")


def test_a_folder_of_configuration_that_is_a_link(tmp_path):
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "binder").symlink_to("deploy/binder")
    got = asked(tmp_path / "place", {"deploy/binder/requirements.txt": b"numpy\n", "requirements.txt": b"sgp4\n"})
    assert (got.configuration, [requirement.text for requirement in got.requirements]) == ("deploy/binder", ["numpy"])


def test_files_that_name_each_other_without_end(tmp_path):
    files = {f"{name}.txt": f"-r {name + 1}.txt\n".encode() * 20 for name in range(7)}
    error = fault(tmp_path, {**files, "7.txt": b"", "requirements.txt": b"-r 0.txt\n"})
    assert error.message.endswith("is named too often")


def test_what_conda_exported_is_told(tmp_path):
    lines = "".join(f"  - lib{number}=1.{number}=h1234_{number}\n" for number in range(12))
    (note,) = asked(tmp_path, {"environment.yml": f"dependencies:\n{lines}".encode()}).notes
    assert "`conda env export --from-history`" in note
    assert asked(tmp_path / "other", {"environment.yml": b"dependencies:\n  - numpy=2.1=py313_0\n"}).notes == ()
