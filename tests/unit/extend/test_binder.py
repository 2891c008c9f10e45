"""Binder's files become what is asked for, each word with its line; what an image cannot have is refused there."""

from __future__ import annotations

import pytest

from helioimages.core.errors import HelioError
from helioimages.extend import binder
from helioimages.extend.repository import opened

ENVIRONMENT = """\
name: anything
channels: [conda-forge]
dependencies:
  - python=3.13
  - conda-forge::numpy=1.26
  - xarray >=2025.1, <2027   # a range
  - git
  - pip:
      - -r ../more.txt
      - sgp4[fast]>=2 ; python_version > "3.8"
variables:
  KEY: value
"""


def texts(wanted):
    return [(wanted_line.text, str(wanted_line.place)) for wanted_line in wanted]


def test_environment_with_what_it_names(given):
    asked = binder.read(
        given.files(
            {
                "binder/environment.yml": ENVIRONMENT,
                "more.txt": "\n# words\nskyfield \\\n  >=1.40\n-c limits.txt\n",
                "limits.txt": "jplephem<3\n",
                "binder/runtime.txt": "python-3.13\n",
                "binder/postBuild": "#!/bin/sh\n",
                "binder/start": "#!/bin/sh\n",
                "binder/apt.txt": "git  # a word\n",
                "environment.yml": "dependencies: [r-base]\n",
            }
        )
    )
    assert asked.configuration == "binder"
    assert [(package.name, package.version, str(package.place)) for package in asked.conda] == [
        ("numpy", "==1.26.*", "binder/environment.yml line 5"),
        ("xarray", ">=2025.1,<2027", "binder/environment.yml line 6"),
        ("git", "", "binder/environment.yml line 7"),
    ]
    assert [(version.version, str(version.place)) for version in asked.python] == [
        ("==3.13.*", "binder/environment.yml line 4"),
        ("==3.13.*", "binder/runtime.txt line 1"),
    ]
    assert [requirement.text.split() for requirement in asked.requirements] == [
        ["skyfield", ">=1.40"],
        ["sgp4[fast]>=2", ";", "python_version", ">", '"3.8"'],
    ]
    assert [str(requirement.place) for requirement in asked.requirements] == [
        "more.txt line 3",
        "binder/environment.yml line 10",
    ]
    assert texts(asked.constraints) == [("jplephem<3", "limits.txt line 1")]
    assert texts(asked.debian) == [("git", "binder/apt.txt line 1")]
    assert (asked.post_build, asked.start, asked.variables) == ("binder/postBuild", "binder/start", {"KEY": "value"})


def test_requirements_are_left_out_beside_an_environment_and_it_is_said(given):
    asked = binder.read(given.files({"environment.yml": "dependencies: []\n", "requirements.txt": "sgp4\n"}))
    assert asked.requirements == ()
    assert asked.notes == ("requirements.txt is left out, as Binder does where there is an environment.yml",)


def test_projects_of_the_repository_and_of_git(given):
    asked = binder.read(
        given.files(
            {
                "requirements.txt": "-e .[plot]\n./tools\ngit+https://example.org/a/b.git@main#egg=b&subdirectory=py\n"
                "c[x] @ git+https://example.org/c@v1\n",
                "pyproject.toml": "[project]\nname='a'\n",
            }
        )
    )
    assert [
        (project.folder, project.url, project.ref, project.extras, project.place.line) for project in asked.projects
    ] == [
        (".", "", "", ("plot",), 1),
        ("tools", "", "", (), 2),
        ("py", "https://example.org/a/b.git", "main", (), 3),
        (".", "https://example.org/c", "v1", ("x",), 4),
    ]


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"pyproject.toml": "[project]\nname='a'\n"}, 1),
        ({"setup.py": ""}, 1),
        # Of a linter alone.
        ({"pyproject.toml": "[tool.ruff]\n"}, 0),
        # Binder does not look there either.
        ({"pyproject.toml": "[project]\nname='a'\n", "binder/requirements.txt": ""}, 0),
    ],
)
def test_a_package_of_its_own_is_built(given, files, count):
    assert len(binder.read(given.files(files)).projects) == count


def test_hashes_of_pip_are_left_out_and_it_is_said(given):
    asked = binder.read(given.files({"requirements.txt": "sgp4==2.27 \\\n  --hash=sha256:00 --hash=sha256:11\n"}))
    assert [requirement.text.strip() for requirement in asked.requirements] == ["sgp4==2.27"]
    assert asked.notes == ("requirements.txt: hashes of pip are left out: the lock has one of each file",)


@pytest.mark.parametrize(
    ("files", "where", "message"),
    [
        ({"install.R": ""}, "install.R", "`install.R` asks for R"),
        ({"binder/Project.toml": ""}, "binder/Project.toml", "asks for Julia"),
        ({".binder/default.nix": ""}, ".binder/default.nix", "asks for nix"),
        ({"Dockerfile": ""}, "Dockerfile", "a container of its own"),
        ({"binder/a": "", ".binder/b": ""}, ".binder", "both `binder` and `.binder`"),
        ({"runtime.txt": "\nr-4.1-2022-01-01\n"}, "runtime.txt line 2", "asks for R"),
        ({"runtime.txt": "python\n"}, "runtime.txt line 1", "is not understood"),
        ({"requirements.txt": "a\n-r b.txt\n"}, "requirements.txt line 2", "there is no file `b.txt`"),
        ({"requirements.txt": "-r requirements.txt\n"}, "requirements.txt line 1", "files name each other too deeply"),
        ({"requirements.txt": "-r ../../b.txt\n"}, "requirements.txt line 1", "is not in the repository"),
        ({"requirements.txt": "-e /opt/x\n"}, "requirements.txt line 1", "is not in the repository"),
        ({"requirements.txt": "a\n--index-url https://x\n"}, "requirements.txt line 2", "`--index-url` is an option"),
        ({"requirements.txt": "a b c\n"}, "requirements.txt line 1", "is not a requirement"),
        ({"requirements.txt": "https://x/y.whl\n"}, "requirements.txt line 1", "is a file of its own"),
        ({"requirements.txt": "y @ https://x/y.whl\n"}, "requirements.txt line 1", "is a file of its own"),
        ({"requirements.txt": "git+ext::sh\n"}, "requirements.txt line 1", ""),
        ({"requirements.txt": "y @ git+https://x/y ; os_name ~= 'a'\n"}, "requirements.txt line 1", "has no meaning"),
        ({"environment.yml": "dependencies:\n  - [a\n"}, "environment.yml line 3", "is not YAML"),
        ({"environment.yml": "dependencies:\n  - numpy[version=2]\n"}, "environment.yml line 2", "is not understood"),
        ({"environment.yml": "dependencies:\n  - numpy 1|2\n"}, "environment.yml line 2", "has alternatives"),
        ({"environment.yml": "dependencies:\n  - pip:\n    - a b\n"}, "environment.yml line 3", "not a requirement"),
        ({"environment.yml": "dependencies: 3\n"}, "environment.yml line 1", "is not understood"),
        ({"environment.yml": f"a:\n  {'[' * 9999}\n"}, "environment.yml line 2", "is not YAML"),
        ({"apt.txt": "git\n../x\n"}, "apt.txt line 2", "is not a Debian package"),
        ({"pyproject.toml": "[project\n"}, "pyproject.toml line 1", "is not TOML"),
        ({"pyproject.toml": "a = " + "[" * 9999}, "pyproject.toml", "is not TOML"),
        (
            {"requirements.txt": "".join(f"p{i}\n" for i in range(10_000))},
            "requirements.txt line 2001",
            "too many packages",
        ),
    ],
)
def test_what_an_image_cannot_have_is_refused_at_its_line(given, files, where, message):
    with pytest.raises(HelioError) as caught:
        binder.read(given.files(files))
    assert caught.value.where == where
    assert message in caught.value.message
    assert len(str(caught.value).splitlines()) < 12


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        ("numpy", ""),
        ("numpy=1.26", "==1.26.*"),
        ("numpy=1.26.*", "==1.26.*"),
        ("numpy==1.26.4", "==1.26.4"),
        ("numpy 1.26.4", "==1.26.4"),
        ("numpy 1.26*", "==1.26.*"),
        ("numpy=1.26.4=py313h_0", "==1.26.4"),
        ("numpy >=1.20 , <3", ">=1.20,<3"),
        ("numpy>=1.26.*", ">=1.26"),
        ("numpy *", ""),
        ("numpy!=2.0", "!=2.0"),
    ],
)
def test_versions_of_conda_in_the_words_of_the_index(given, spec, version):
    (package,) = binder.read(given.files({"environment.yml": f"dependencies:\n  - {spec}\n"})).conda
    assert (package.name, package.version) == ("numpy", version)


@pytest.mark.parametrize(
    ("files", "where", "message"),
    [
        ({"requirements.txt/a": ""}, "requirements.txt", "`requirements.txt` is a folder"),
        ({"binder/postBuild/a": ""}, "binder/postBuild", "`binder/postBuild` is a folder"),
        ({"postBuild": "#!/bin/bash\r\necho\r\n"}, "postBuild line 1", "`postBuild` has the line ends of Windows"),
        ({"binder/start": "#!/bin/bash\r\n"}, "binder/start line 1", "`binder/start` has the line ends of Windows"),
        (
            {"environment.yml": 'variables:\n  A: 1\n  "A B": 2\n'},
            "environment.yml line 3",
            "`A B` cannot be a variable",
        ),
        ({"environment.yml": "variables:\n  PATH: /x\n"}, "environment.yml line 2", "`PATH` is the image's own"),
    ],
)
def test_what_would_end_as_a_riddle_in_the_container_is_told_before(given, files, where, message):
    repository = given.files({name: "" for name in files})
    for name, text in files.items():
        (repository.folder / name).write_bytes(text.encode())
    with pytest.raises(HelioError, match=message) as caught:
        binder.read(repository)
    assert caught.value.where == where


def test_a_program_that_is_a_link_to_nothing(given):
    repository = given.files({"a": ""})
    (repository.folder / "postBuild").symlink_to("nothing")
    with opened(str(repository.folder)) as source, pytest.raises(HelioError, match="cannot read `postBuild`") as caught:
        binder.read(source)
    assert caught.value.detail == "No such file or directory"


def test_a_folder_called_start_and_programs_without_an_interpreter_are_taken(given):
    asked = binder.read(given.files({"start/data.csv": "1\r\n", "postBuild": "echo\r\n"}))
    assert (asked.start, asked.post_build) == ("", "postBuild")
