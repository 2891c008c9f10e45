"""The verb `changed`, on a git repository made here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command_line import main

from helioimages.core.errors import HelioError
from helioimages.prove import changed as changes

PACKAGE = "tools/helioimages/"
TREE = {
    "README.md": "x\n",
    "images/Dockerfile.j2": "x\n",
    "tools/requirements.lock": "x\n",
    "channel/recipes.toml": "x\n",
    "channel/README.md": "x\n",
    PACKAGE + "make/building.py": "x = 1\n",
    PACKAGE + "machine/store.py": "x = 1\n",
    PACKAGE + "oci/types.py": "x = 1\n",
    PACKAGE + "smoke/report.py": "x = 1\n",
    PACKAGE + "catalogue/model.py": "x = 1\n",
}


def image_files(name: str, parent: str | None) -> dict[str, str]:
    head = f'name = "{name}"\ntitle = "x"\ndescription = "x"\nenvironment = "{name}"\n'
    return {
        f"environments/{name}/environment.yml": f"name: {name}\nchannels: [local]\ndependencies: [python]\n",
        f"environments/{name}/pylock.toml": "x\n",
        f"environments/{name}/conda-lock.yml": "x\n",
        f"environments/{name}/conda-lock.conda-forge.yml": "x\n",
        f"environments/{name}/README.md": "x\n",
        f"images/{name}/image.toml": head + (f'parent = "{parent}"\n' if parent else "") + '[hub]\nslug = "x"\n',
        f"images/{name}/files/etc/motd": "x\n",
        f"images/{name}/yanked.toml": "",
        f"smoke-notebooks/{name}/01.ipynb": "{}\n",
    }


TREE |= image_files("base", None) | image_files("helio", "base") | image_files("other", None)


class Checkout:
    """A git repository with base, its child helio, and another image of no parent."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for path, text in TREE.items():
            self.write(path, text)
        self.git("init", "-q")
        self.commit()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", "-C", str(self.root), *who, *arguments], check=True, capture_output=True, text=True
        ).stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "-qm", "x")

    def call(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["changed", "--root", str(self.root), "--since", *arguments])


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Checkout(tmp_path / "a checkout")


ALL = ("base", "helio", "other")


@pytest.mark.parametrize(
    ("path", "images", "what"),
    [
        ("environments/base/pylock.toml", ("base", "helio"), "locked packages"),
        ("environments/helio/conda-lock.yml", ("helio",), "locked packages"),
        ("environments/helio/environment.yml", ("helio",), "its environment"),
        ("environments/helio/imports.toml", ("helio",), "its smoke test"),
        ("images/base/files/etc/motd", ("base", "helio"), "its files"),
        ("images/other/apt-lock.json", ("other",), "locked packages"),
        ("environments/helio/build-lock.toml", ("helio",), "locked packages"),
        ("images/base/Dockerfile", ("base", "helio"), "its recipe"),
        ("smoke-notebooks/base/01.ipynb", ("base", "helio"), "its smoke test"),
        ("channel/recipes.toml", ALL, "the local channel"),
        ("images/Dockerfile.j2", ALL, "the recipe's template"),
        ("tools/requirements.lock", ALL, "libraries that make bytes"),
        (PACKAGE + "machine/store.py", ALL, "makes bytes"),
        (PACKAGE + "oci/types.py", ALL, "makes bytes"),
        (PACKAGE + "smoke/report.py", ALL, "runs notebooks"),
    ],
)
def test_an_input_concerns_the_image_and_its_children(checkout, path, images, what):
    checkout.write(path, "name: helio\nchannels: [local]\ndependencies: [python, git]\n")
    rows = json.loads(checkout.call("HEAD", "--json").stdout)
    assert tuple(row["image"] for row in rows) == images
    for row in rows:
        whose = ", of its ancestor `base`" if "/base/" in path and row["image"] == "helio" else ""
        assert row["reasons"] == [{"path": path, "what": what + whose}]


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "channel/README.md",
        "environments/base/README.md",
        "environments/base/conda-lock.conda-forge.yml",
        "images/base/yanked.toml",
        "images/base/CHANGES.md",
        PACKAGE + "catalogue/model.py",
        "docs/new.md",
    ],
)
def test_what_no_image_is_made_of_concerns_none(checkout, path):
    checkout.write(path, "y = 2\n")
    assert checkout.call("HEAD").stdout == "no image changed\n"
    assert checkout.call("HEAD", "--names").stdout == ""


def test_the_channel_says_which_conda_lock_counts(checkout):
    checkout.write("environments/other/conda-lock.conda-forge.yml", "y\n")
    assert checkout.call("HEAD", "--channel", "conda-forge", "--names").stdout == "other\n"
    checkout.write("channel/recipes.toml", "y\n")
    assert checkout.call("HEAD", "--channel", "conda-forge", "--names").stdout == "other\n"


def test_how_a_hub_offers_an_image_is_no_input_and_the_rest_of_image_toml_is(checkout):
    text = TREE["images/base/image.toml"]
    checkout.write("images/base/image.toml", "# a comment\n" + text.replace('slug = "x"', 'slug = "y"'))
    assert checkout.call("HEAD").stdout == "no image changed\n"
    checkout.write("images/base/image.toml", text.replace('title = "x"', 'title = "y"'))
    assert checkout.call("HEAD", "helio").stdout == (
        "helio: images/base/image.toml (its image.toml, of its ancestor `base`)\n"
    )


def _commit(checkout: Checkout) -> None:
    checkout.write("images/base/files/etc/motd", "y\n")
    checkout.commit()


def _stage(checkout: Checkout) -> None:
    checkout.write("images/base/files/etc/motd", "y\n")
    checkout.git("add", "--all")


def _remove(checkout: Checkout) -> None:
    (checkout.root / "images/base/files/etc/motd").unlink()


def _rename(checkout: Checkout) -> None:
    checkout.git("mv", "images/base/files/etc/motd", "motd")


def _executable(checkout: Checkout) -> None:
    (checkout.root / "images/base/files/etc/motd").chmod(0o755)


@pytest.mark.parametrize("act", [_commit, _stage, _remove, _rename, _executable])
def test_every_way_of_changing_counts(checkout, act: Callable[[Checkout], None]):
    checkout.git("tag", "before")
    act(checkout)
    assert checkout.call("before").stdout == (
        "base: images/base/files/etc/motd (its files)\n"
        "helio: images/base/files/etc/motd (its files, of its ancestor `base`)\n"
    )


def test_odd_names_and_new_images_are_seen(checkout):
    checkout.write('images/other/files/é \n"x"', "x")
    for path, text in image_files("young", "base").items():
        checkout.write(path, text)
    reasons = {row["image"]: row["reasons"] for row in json.loads(checkout.call("HEAD", "--json").stdout)}
    assert reasons["other"] == [{"path": 'images/other/files/é \n"x"', "what": "its files"}]
    assert {"path": "images/young/image.toml", "what": "its image.toml"} in reasons["young"]
    assert sorted(reasons) == ["other", "young"]


@pytest.mark.parametrize("since", ["v9", "--output=x", ""])
def test_a_revision_that_is_not_there(checkout, since):
    done = checkout.call(since)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: git knows no commit `{since}`\n\nhint: a shallow clone lacks it: git fetch --unshallow\n"
    )


def test_a_folder_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(HelioError) as caught:
        changes.paths(tmp_path, "HEAD")
    assert caught.value.message == "`git rev-parse` fails"
    assert "not a git repository" in caught.value.detail


def test_a_machine_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HelioError) as caught:
        changes.paths(tmp_path, "HEAD")
    assert (caught.value.message, caught.value.hint) == ("`git` is missing", "run `apt-get install git`")


def test_every_room_of_this_very_tool_is_told_apart():
    package = Path(changes.__file__).parents[1]
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert set(changes.BYTES) | set(changes.TESTS) <= rooms
    assert rooms - set(changes.BYTES) - set(changes.TESTS) == {
        "publish",
        "catalogue",
        "prove",
        "cite",
        "extend",
        "works",
        "verbs",
    }
