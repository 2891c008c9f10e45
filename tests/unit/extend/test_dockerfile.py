"""A repository's wishes as a Dockerfile: what stands in it, and that no word of the repository is read as one of it."""

from __future__ import annotations

import shlex

import pytest

from helioimages.core.errors import HelioError
from helioimages.extend.asked import FileLine, PlacedRequirement, RepositoryRequests, SourceProject
from helioimages.extend.dockerfile import ParentImage, RepositoryRecipe, dockerfile

PLACE = FileLine(file="requirements.txt", line=1)
BELOW = ParentImage(
    reference="example.org/base@sha256:0", uid=1000, entrypoint=("/srv/start",), command=("jupyter", "lab")
)


def made(asked: RepositoryRequests, *requirements: str, **more) -> list[str]:
    wanted = tuple(PlacedRequirement(text=text, place=PLACE) for text in requirements)
    said = {"below": BELOW, "asked": asked, "requirements": wanted, "place": "/home/jovyan", "labels": {}}
    return dockerfile(RepositoryRecipe(**(said | more))).splitlines()


def test_a_repository_of_files_alone_runs_no_package_manager():
    assert made(RepositoryRequests(), labels={"b": "2", "a": '"$1"\n'}, appendix="# the end") == [
        "FROM example.org/base@sha256:0",
        "USER root",
        'ENV REPO_DIR="/home/jovyan"',
        "WORKDIR /home/jovyan",
        "COPY --chown=1000:0 src/ /home/jovyan/",
        "RUN find /home/jovyan -xdev ! -uid 1000 -exec chown -h 1000:0 {} +",
        "USER 1000",
        'ENTRYPOINT ["/srv/start"]',
        'CMD ["jupyter", "lab"]',
        'LABEL a="\\"\\$1\\" "',
        'LABEL b="2"',
        "# the end",
    ]


def test_everything_has_its_order_and_its_user():
    asked = RepositoryRequests(
        configuration="binder",
        debian=(PlacedRequirement(text="hello", place=PLACE), PlacedRequirement(text="git", place=PLACE)),
        variables={"WORD": 'a "b" $HOME \\'},
        post_build="binder/postBuild",
        start="binder/start",
    )
    lines = made(asked, place="/srv/work")
    assert "apt-get install --yes --no-install-recommends git hello &&" in lines[4]
    assert lines[5] == 'ENV WORD="a \\"b\\" \\$HOME \\\\"'
    # Programs may be run before the image's user runs one of them, and the start comes after the image's own.
    assert lines[7].endswith(" && chmod +x -- binder/postBuild binder/start")
    assert lines[8:11] == [
        "USER 1000",
        "RUN ./binder/postBuild",
        'ENTRYPOINT ["/srv/start", "/srv/work/binder/start"]',
    ]


def test_pip_is_held_to_the_image_and_asked_once():
    asked = RepositoryRequests(
        constraints=(PlacedRequirement(text="scipy<2", place=PLACE),),
        projects=(
            SourceProject(place=PLACE),
            SourceProject(place=PLACE, folder="lib", extras=("plot", "x")),
            SourceProject(place=PLACE, url="https://example.org/a.git", ref="v1", folder="sub"),
        ),
    )
    text = "\n".join(made(asked, "numpy>=2 ; python_version > '3'"))
    (step,) = [line for line in text.replace(" \\\n", " ").splitlines() if "pip install" in line]
    words = shlex.split(step)
    assert words[:8] == ["RUN", "python", "-m", "pip", "list", "--format=freeze", ">", "/tmp/image.txt"]
    install = words[words.index("install") :]
    assert install[1:7] == [
        "--no-cache-dir",
        "--root-user-action=ignore",
        "--constraint",
        "/tmp/image.txt",
        "--constraint",
        "/tmp/limits.txt",
    ]
    assert install[7:11] == [
        "numpy>=2 ; python_version > '3'",
        ".",
        "./lib[plot,x]",
        "git+https://example.org/a.git@v1#subdirectory=sub",
    ]
    assert text.index("ARG PIP_INDEX_URL") < text.index("pip install")


def test_a_variable_is_no_line_of_the_dockerfile():
    with pytest.raises(HelioError, match="`A` has more than one line") as caught:
        made(RepositoryRequests(configuration="binder", variables={"A": "1\nRUN false"}))
    assert caught.value.where == "binder/environment.yml"
