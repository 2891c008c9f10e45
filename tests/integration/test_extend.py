"""A Binder-ready repository on the real base image: its image, in the real engine; or one error, and nothing left."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import engine_lists
import pytest
from git_support import commit_all, git_server
from git_support import repository as git_repository
from limits import until_begun
from pypi_support import PLACES, IndexServer, environment_of, sdist_bytes, serving, wheel_bytes
from repository_support import BACKEND, PYPROJECT, add_packages, published_base, written
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from helioimages.core.errors import HelioError
from helioimages.core.platform import Platform
from helioimages.engines import leftovers
from helioimages.extend import containers, repository, stage
from helioimages.make.machine import Machine
from helioimages.oci.reference import Reference
from helioimages.publish import release
from helioimages.publish.contents import from_list, from_sbom
from helioimages.publish.holdings import image_of
from helioimages.publish.referrers import artifacts, read_blob

pytestmark = [pytest.mark.engine, pytest.mark.network]

POST_BUILD = """\
#!/bin/bash
set -e
python -c 'import ours, kepler, orbits; print(ours.ANSWER)' > made
id -u >> made
pwd >> made
rm README.md
mkdir -p deep/er && ln -s ../../made deep/er/link
echo "${WORD}" > /tmp/left-out
"""
ENVIRONMENT = """\
dependencies:
  - python=3.13
  - numpy>=1.20
  - git
  - pip:
      - -r requirements.txt
      - -e ..
variables:
  WORD: spoken
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where images are extended: this machine, its registry, base in it, and an index on loopback."""

    machine: Machine
    host: str
    base: str
    index: IndexServer

    def extend(self, folder: Path | str, **order) -> stage.Extended:
        connect = functools.partial(release.connect, self.machine.store)
        said = {"source": Reference.parse(self.base), "platform": Platform.of("linux/amd64"), "prefix": "test-extend/"}
        with repository.opened(str(folder)) as source, connect(None) as target:
            return stage.extend(source, stage.ExtendOrder(**(said | order)), self.machine, connect, target)

    def run(self, reference: str, script: str) -> str:
        with release.connect(self.machine.store, None) as client:
            name, _, digest = reference.removeprefix(f"{client.host}/").partition("@")
            assert client.head_manifest(name, digest)
        self.machine.engine.pull(reference)
        try:
            done = self.machine.engine.run(reference, ["bash", "-c", script])
        finally:
            self.machine.engine.client.images.remove(reference, force=True)
        assert done.exit_code == 0, done.log
        return done.log

    def labels(self, reference: str) -> Mapping[str, str]:
        with release.connect(self.machine.store, None) as client:
            return image_of(client, Reference.parse(reference), Platform.of("linux/amd64")).config.labels

    def tags(self, name: str) -> tuple[str, ...]:
        with release.connect(self.machine.store, None) as client:
            return client.tags(f"test-extend/{name}")

    def containers(self) -> list[str]:
        """Return the containers that this process waits for."""
        mine = [f"{key}={value}" for key, value in leftovers.label().items()]
        return engine_lists.containers(self.machine.engine.client, label=mine)

    def images(self) -> set[str]:
        """Return the engine's images by digest; a tag of another test has none."""
        return {name for name in engine_lists.image_names(self.machine.engine.client) if "@" in name}


@pytest.fixture(scope="module")
def place(workspace, built, tmp_path_factory) -> Iterator[Place]:
    """Return base as `publish` leaves it, and an index that has three packages."""
    machine = Machine(store=workspace.store, jobs=os.cpu_count() or 2)
    names = ("analysis", "same", "more", "of-git", "lessons", "habits")
    with (
        published_base(workspace, built, "test-extend/", tmp_path_factory.mktemp("report"), names) as (host, reference),
        serving() as index,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in PLACES:
            patch.delenv(name, raising=False)
        for name, value in environment_of(index, str(tmp_path_factory.mktemp("uv"))).items():
            patch.setenv(name, value)
        add_packages(index)
        for name, path in (("covers", "numpy/__init__.py"), ("covers2", "orbits/__init__.py")):
            index.add(f"{name}-1.0-py3-none-any.whl", wheel_bytes({path: b"X = 2\n"}, name=name))
        index.add("source-1.0.tar.gz", sdist_bytes("source", "1.0"))
        yield Place(machine=machine, host=host, base=reference, index=index)


@pytest.fixture
def work(tmp_path: Path):
    """Write a repository into a folder."""
    return lambda files: written(tmp_path / "analysis", files)


def test_a_whole_repository(place, work):
    """All of Binder's files: packages of the index, its own package, files, postBuild, start, variables."""
    folder = work(
        {
            "binder/environment.yml": ENVIRONMENT,
            "binder/requirements.txt": "orbits\n",
            "binder/postBuild": POST_BUILD,
            "binder/start": '#!/bin/bash\nexport STARTED="$WORD"\nexec "$@"\n',
            "binder/runtime.txt": "python-3.13\n",
            "binder/apt.txt": "git\n",
            "backend.py": BACKEND,
            "pyproject.toml": PYPROJECT,
            "README.md": "words\n",
            "notebooks/a.ipynb": "{}",
        }
    )
    made = place.extend(folder, write_lock=True)
    assert made.added == {"kepler": "1.0", "orbits": "1.0", "ours": "0.3"}
    assert (made.reproducible, made.lock) == (False, "binder/pylock.base.toml")
    assert made.tags == (f"{place.host}/test-extend/analysis:latest",)
    assert made.bytes_added < 1_000_000
    said = place.run(
        made.reference,
        "cat made; cat deep/er/link | head -1; echo $STARTED; test ! -e README.md; test ! -e /tmp/left-out; "
        "cat /srv/repository/README.md; test -w notebooks/a.ipynb && test ! -w /srv/repository/README.md; "
        "python -c 'import ours; print(ours.__cached__)' | xargs ls; python -m pip check",
    )
    assert said.splitlines()[:6] == ["42", "1000", "/home/jovyan", "42", "spoken", "words"]
    assert said.splitlines()[-1] == "No broken requirements found."
    # The lock is obeyed: the index may be gone.
    place.index.asked.clear()
    again = place.extend(folder)
    assert (again.added, place.index.asked) == (made.added, [])
    with release.connect(place.machine.store, None) as client:
        name, _, digest = again.reference.removeprefix(f"{client.host}/").partition("@")
        attached = artifacts(client, name, digest, tags=(), store=place.machine.store)
        texts = {
            artifact.kind: read_blob(client, name, artifact.files[0], place.machine.store) for artifact in attached
        }
    for contents in (from_list(texts["packages"], name), from_sbom(texts["sbom"], name)):
        assert {"ours", "numpy", "libc6", "python"} <= {package.name for package in contents.packages}
    document = JsonLikeDictParser().parse(json.loads(texts["sbom"]))
    assert validate_full_spdx_document(document) == []


def test_without_a_post_build_the_same_repository_is_the_same_image(place, work, tmp_path):
    folder = work({"requirements.txt": "orbits\n", "a.py": "1\n"})
    first = place.extend(folder, name="same")
    (folder / "a.py").touch()
    second = place.extend(folder, name="same", write_lock=True)
    assert (first.reference, first.tags) == (second.reference, second.tags)
    assert first.reproducible
    assert [tag.partition(":lock-")[1] for tag in first.tags[-1:]] == [":lock-"]
    # Another one by what extends it: an extension is an image as others are.
    third = place.extend(
        work({"requirements.txt": "orbits\n", "b.py": "2\n"}), name="more", source=Reference.parse(first.reference)
    )
    assert (third.parent, dict(third.added)) == (first.reference, {})
    # What the first added is the image's to the next, too.
    with pytest.raises(HelioError, match=r"`covers2-1.0` brings \S+/orbits/__init__.py, which `test-extend/same` of"):
        place.extend(work({"requirements.txt": "covers2\n"}), name="more", source=Reference.parse(first.reference))


def test_a_git_repository_stays_at_the_commit_of_the_lock(place, work, tmp_path):
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    (upstream / "backend.py").write_text(BACKEND)
    (upstream / "pyproject.toml").write_text(PYPROJECT)
    git = ["git", "-C", str(upstream), "-c", "user.name=T", "-c", "user.email=t@example.org"]

    def commit() -> str:
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "-c", "commit.gpgsign=false", "commit", "-qm", "x"], check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    first = commit()
    folder = work({"requirements.txt": f"git+file://{upstream}@main#egg=ours\n"})
    made = place.extend(folder, name="of-git", write_lock=True)
    assert made.added == {"ours": "0.3", "kepler": "1.0"}
    assert first in (folder / "pylock.base.toml").read_text()
    (upstream / "backend.py").write_text(BACKEND.replace("42", "43"))
    commit()
    assert place.extend(folder, name="of-git").reference == made.reference
    (folder / "pylock.base.toml").unlink()
    assert place.extend(folder, name="of-git").reference != made.reference


def test_an_address_of_a_server_a_branch_and_a_folder(place, tmp_path):
    files = {"lessons/requirements.txt": "orbits\n", "lessons/a.ipynb": "{}", "other": ""}
    upstream = git_repository(tmp_path / "course", files)
    commit = commit_all(upstream, {"lessons/b.ipynb": "{}"})
    commit_all(upstream, {"lessons/later.ipynb": "{}"})
    with git_server(tmp_path) as server:
        made = place.extend(f"{server}/course/.git@{commit}#subdirectory=lessons")
    assert (
        place.run(made.reference, "ls; ls /srv/repository").split()
        == [
            *("a.ipynb", "b.ipynb", "pylock.base.toml", "requirements.txt"),
        ]
        * 2
    )
    image = place.labels(made.reference)
    assert image["org.opencontainers.image.revision"] == commit
    assert image["org.opencontainers.image.source"] == f"{server}/course/.git#subdirectory=lessons"


def test_what_a_post_build_may_do(place, work):
    """Names with newlines, files elsewhere, links out of the home, a process that stays: it ends with the container."""
    script = """\
#!/bin/bash
cat > said
echo x > $'two\\nlines'
ln -s /etc/hostname outside
echo x > /var/tmp/elsewhere
sleep 600 &
"""
    made = place.extend(work({"postBuild": script, "three\nlines": "y\n"}), name="habits")
    assert place.containers() == []
    said = place.run(
        made.reference,
        "cat $'two\\nlines' $'three\\nlines' said; readlink outside; test ! -e /var/tmp/elsewhere && echo clean",
    )
    assert said.split() == ["x", "y", "/etc/hostname", "clean"]


def test_a_post_build_that_leaves_too_much_in_the_home(place, work, monkeypatch):
    """The engine holds a container whose archive is read half: left open, its removal would wait for ever."""
    monkeypatch.setattr(containers, "MOST_BYTES", 10_000_000)
    with pytest.raises(HelioError, match="`postBuild` left too much in /home/jovyan"):
        place.extend(work({"postBuild": "#!/bin/bash\nhead -c 100M /dev/urandom > big\n"}), name="wrong")
    assert (place.containers(), place.tags("wrong")) == ([], ())
    assert not [image for image in place.images() if "test-extend/wrong" in image]


@pytest.mark.parametrize(
    ("files", "message", "words"),
    [
        ({"postBuild": "#!/bin/bash\necho boo\nexit 3\n"}, "`postBuild` failed", "boo\nit ended with exit status 3"),
        ({"postBuild": "#!/bin/bash\nread -r word || { echo nobody; exit 4; }\n"}, "`postBuild` failed", "nobody\nit"),
        ({"postBuild": "#!/bin/bash\necho > /srv/conda/x\n"}, "`postBuild` failed", "Permission denied"),
        ({"postBuild": "#!/bin/bash\ntouch $'caf\\xe9.csv'\n"}, "whose name is not UTF-8", "would lack the file"),
        ({"runtime.txt": "python-3.9\n"}, "`python-3.9` asks for another Python", ""),
        ({"environment.yml": "dependencies:\n  - python=3.12\n"}, "`python=3.12` asks for another Python", ""),
        ({"environment.yml": "dependencies:\n  - nodejs\n"}, "`nodejs` is not a Python package", ""),
        ({"requirements.txt": "numpy<2\n"}, "`numpy<2` contradicts the image", "has numpy"),
        (
            {"requirements.txt": "covers\n"},
            "`covers-1.0` brings srv/conda/envs/notebook/lib/python3.13/site-packages/",
            "",
        ),
        ({"apt.txt": "libgsl28\n"}, "`libgsl28` is a Debian package that", "cannot be added"),
        ({"requirements.txt": "source\n"}, "what pylock.base.toml asks for does not build", "pip ended with"),
        ({"pyproject.toml": PYPROJECT, "backend.py": "raise SystemExit('no')\n"}, "pyproject.toml asks for", "no"),
    ],
)
def test_what_goes_wrong_is_one_error_and_leaves_nothing(place, work, files, message, words):
    before = place.images()
    with pytest.raises(HelioError) as caught:
        place.extend(work(files), name="wrong")
    assert message in caught.value.message
    assert words in caught.value.detail
    leaves_nothing(place, before)


@pytest.mark.parametrize(("script", "words"), [("echo waits\nsleep 600", "waits"), ("trap '' TERM INT\nyes", "y\ny")])
def test_what_does_not_end_is_one_error_and_leaves_nothing(place, work, script, words):
    before, folder = place.images(), work({"postBuild": f"#!/bin/bash\n{script}\n"})

    def attempt(limit_s: float) -> HelioError:
        with pytest.raises(HelioError) as caught:
            place.extend(folder, name="wrong", timeout_s=limit_s)
        return caught.value

    limit_s, error = until_begun(attempt, lambda error: words in error.detail)
    assert f"`postBuild` did not end within {limit_s:g} s" in error.message
    leaves_nothing(place, before)


def leaves_nothing(place, before: set[str]) -> None:
    """Look for images, containers and manifests that came since."""
    assert place.tags("wrong") == ()
    assert not [tag for tag in place.images() - before if "test-extend/wrong" in tag]
    assert place.containers() == []
    with release.connect(place.machine.store, None) as client:
        for digest in [tag.partition("@")[2] for tag in place.images() - before]:
            assert client.head_manifest("test-extend/wrong", digest) is None


def test_an_image_never_takes_its_parents_place(place, work):
    with pytest.raises(HelioError, match="`test-extend/base` would replace the image that it extends"):
        place.extend(work({"a": ""}), name="base")
