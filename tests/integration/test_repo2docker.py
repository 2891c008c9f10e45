"""repo2docker itself builds repositories of its kinds from the real base image; so does Binder's Dockerfile recipe.

repo2docker, BuildKit's client and the engine are real; the index is on loopback, and no step of a build reaches more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import engine_lists
import pytest
import trust_support
from debian_support import needs
from pinned import packages
from pypi_support import PLACES, serving
from repository_support import BACKEND, PYPROJECT, add_packages, published_base, written

from helioimages.debian.lock import Deb
from helioimages.engines.engine import Engine
from helioimages.publish import release

pytestmark = [pytest.mark.engine, pytest.mark.network]

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests" / "support"
#: As docs/scientists.md has it, and what a build of these tests must not reach.
CONFIG = """\
from helioimages.extend.buildpack import PublishedImage
from repo2docker.buildpacks import DockerBuildPack

c.Repo2Docker.base_image = {base!r}
c.Repo2Docker.buildpacks = [DockerBuildPack, PublishedImage]
c.Repo2Docker.default_buildpack = PublishedImage
c.Repo2Docker.user_id, c.Repo2Docker.user_name = 1000, "jovyan"
c.Repo2Docker.extra_build_args = {arguments!r}
c.DockerEngine.extra_buildx_build_args = ["--network", "host"]
"""
#: Builds may write where they run.
LEAVING = BACKEND.replace("    return name\n", '    open("left-by-the-build", "w").close()\n    return name\n')
ENVIRONMENT = """\
name: whatever
channels: [conda-forge]
dependencies:
  - python=3.13
  - numpy>=1.20
  - git
  - orbits=1.0
  - pip
  - pip:
      - kepler
variables:
  WORD: spoken here
"""
BINDER = """\
FROM {base}
ARG NB_USER=jovyan
ARG NB_UID=1000
ENV USER=${{NB_USER}} NB_UID=${{NB_UID}} HOME=/home/${{NB_USER}}
COPY . ${{HOME}}
USER root
RUN chown -R ${{NB_UID}} ${{HOME}}
USER ${{NB_USER}}
RUN python -c "import xarray" && touch ${{HOME}}/mine
"""
#: Kind -> files, and what says in the image that it worked.
KINDS: Mapping[str, tuple[Mapping[str, str], str, str]] = {
    "conda": (
        {"binder/environment.yml": ENVIRONMENT, "a.ipynb": "{}"},
        "python -c 'import orbits, kepler' && ls && echo $WORD; python -m pip check",
        "a.ipynb\nbinder\nspoken here\nNo broken requirements found.",
    ),
    "requirements": (
        {"requirements.txt": "-r more.txt\n", "more.txt": "orbits ; python_version > '3'\nnumpy\n"},
        "python -c 'import orbits; print(orbits.__file__)'; python -m pip check",
        "/srv/conda/envs/notebook/lib/python3.13/site-packages/orbits/__init__.py\nNo broken requirements found.",
    ),
    "pyproject": (
        {"pyproject.toml": PYPROJECT, "backend.py": LEAVING},
        "cd / && python -c 'import ours, kepler; print(ours.ANSWER)'; stat -c %u ~/left-by-the-build",
        "42\n1000",
    ),
    "apt": ({"apt.txt": "git  # is there\n"}, "git --version | cut -d' ' -f1-2", "git version"),
    "start": (
        {".binder/start": '#!/bin/bash\nexport STARTED=yes\nexec "$@"\n'},
        "echo $STARTED; echo $HELIOIMAGES_IMAGE",
        "yes\nbase",
    ),
    "postBuild": (
        {"postBuild": "#!/bin/bash\nset -e\npython -c 'import xarray'\nid -u > made\npwd >> made\n"},
        "cat made; test -w made && test -w . && echo writable",
        "1000\n/home/jovyan\nwritable",
    ),
    "nothing": ({"README.md": "words\n"}, "cat README.md; id -un", "words\njovyan"),
}
REFUSED = {
    "R": ({"install.R": "1\n"}, "`install.R` asks for R, which the images cannot have"),
    "Julia": ({"Project.toml": "[deps]\n"}, "`Project.toml` asks for Julia"),
    "nix": ({"default.nix": "{}\n"}, "`default.nix` asks for nix"),
    "pipfile": ({"Pipfile": "\n"}, "`Pipfile` asks for pipenv"),
    "another Python": ({"runtime.txt": "python-3.9\n"}, "`python-3.9` asks for another Python"),
    "another version": ({"requirements.txt": "numpy<2\n"}, "Cannot install numpy<2 because"),
    "conda's R": ({"environment.yml": "dependencies: [r-base]\n"}, "`r-base` is not a Python package"),
    "postBuild fails": ({"postBuild": "#!/bin/bash\necho boo; exit 3\n"}, "boo"),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where repo2docker builds."""

    engine: Engine
    host: str
    base: str
    environment: Mapping[str, str]
    config: Path

    def build(self, folder: Path, image: str, *more: str) -> subprocess.CompletedProcess[str]:
        argv = ["--config", str(self.config), "--image-name", image, "--no-run", *more, str(folder)]
        return subprocess.run(
            [sys.executable, "-m", "repo2docker", *argv],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, image: str, script: str) -> str:
        done = self.engine.run(image, ["bash", "-c", script])
        assert done.exit_code == 0, done.log
        return done.log.strip()

    def has(self, image: str) -> bool:
        """Say whether the engine has an image by a name, with a tag or by digest."""
        return image in engine_lists.image_names(self.engine.client)

    def layers(self, image: str) -> list[str]:
        return self.engine.client.images.get(image).attrs["RootFS"]["Layers"]

    def forget(self, image: str) -> None:
        if self.has(image):
            self.engine.client.images.remove(image, force=True)


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """Return a folder with repo2docker and what only it needs, and the configuration of a docker that has buildx."""
    needs("docker", "dpkg-deb")
    folder = tmp_path_factory.mktemp("repo2docker")
    (folder / "packages").symlink_to(packages(SUPPORT / "repo2docker.lock"))
    row = json.loads((SUPPORT / "buildx.json").read_text("utf-8"))
    tree = trust_support.unpacked(row.pop("suite"), Deb(**row), folder)
    (folder / "docker").mkdir()
    (folder / "docker" / "cli-plugins").symlink_to(tree / "usr" / "libexec" / "docker" / "cli-plugins")
    return folder


@pytest.fixture(scope="module")
def place(programs, workspace, built, tmp_path_factory) -> Iterator[Place]:
    """Return base as `publish` leaves it, an index on loopback, and repo2docker as it is configured for both."""
    environment = {key: value for key, value in os.environ.items() if key not in PLACES}
    environment |= {
        "DOCKER_HOST": workspace.engine.address,
        "DOCKER_CONFIG": str(programs / "docker"),
        "PYTHONPATH": f"{programs / 'packages'}:{ROOT / 'tools'}",
    }
    with (
        published_base(workspace, built, "test-repo2docker/", tmp_path_factory.mktemp("report"), ("pushed",)) as (
            host,
            reference,
        ),
        serving() as index,
    ):
        add_packages(index)
        # A build that asks for anything but loopback fails at once, on every machine.
        arguments = {"PIP_INDEX_URL": index.url, "http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
        config = programs / "repo2docker_config.py"
        config.write_text(CONFIG.format(base=reference, arguments=arguments))
        place = Place(engine=workspace.engine, host=host, base=reference, environment=environment, config=config)
        workspace.engine.pull(reference)
        yield place
        place.forget(reference)


@pytest.mark.parametrize("kind", KINDS)
def test_repo2docker_builds_from_the_image(place, tmp_path, kind):
    files, script, says = KINDS[kind]
    image = f"test-repo2docker-{kind.lower()}:1"
    done = place.build(written(tmp_path / "work", files), image)
    try:
        assert done.returncode == 0, done.stdout
        assert "Using PublishedImage builder" in done.stdout
        assert place.run(image, script) == says
        # The image's layers are those of the base, and some more; there is no second conda.
        below, above = place.layers(place.base), place.layers(image)
        assert above[: len(below)] == below
        assert len(above) - len(below) <= 5
    finally:
        place.forget(image)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_built_is_said_and_leaves_no_image(place, tmp_path, kind):
    files, says = REFUSED[kind]
    image = "test-repo2docker-refused:1"
    done = place.build(written(tmp_path / "work", files), image)
    try:
        assert done.returncode != 0
        assert says in done.stdout
        assert not place.has(image)
    finally:
        place.forget(image)


def test_binders_own_recipe_takes_the_image_as_its_base(place, tmp_path):
    """Spec: Binder, "Use a Dockerfile for your Binder repository", "Preparing your Dockerfile"."""
    image = "test-repo2docker-dockerfile:1"
    files = {"Dockerfile": BINDER.format(base=place.base), "a.ipynb": "{}"}
    done = place.build(written(tmp_path / "work", files), image)
    try:
        assert done.returncode == 0, done.stdout
        assert "Using DockerBuildPack builder" in done.stdout
        said = place.run(image, "id -un; stat -c %u a.ipynb mine; test -w a.ipynb && pwd; jupyter lab --version")
        assert said.splitlines()[:4] == ["jovyan", "1000", "1000", "/home/jovyan"]
    finally:
        place.forget(image)


def test_repo2docker_pushes_what_it_built(place, workspace, tmp_path):
    """As BinderHub does. Of the image's own layers none travels: the registry has them."""
    image = f"{place.host}/test-repo2docker/pushed:1"
    folder = written(tmp_path / "work", {"requirements.txt": "kepler\n"})
    done = place.build(folder, image, "--push")
    try:
        assert done.returncode == 0, done.stdout
        with release.connect(workspace.store, None) as client:
            assert client.tags("test-repo2docker/pushed") == ("1",)
    finally:
        place.forget(image)
