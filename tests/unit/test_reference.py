"""docs/reference.md: every verb, option, key, exit code and label is there, and what is there exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import click
import pytest
from command_line import main
from pages import PAGES, blocks, commands

from helioimages.core import reading
from helioimages.core.errors import Stage
from helioimages.machine.checkout import load_images
from helioimages.spec import recipes
from helioimages.spec import yanks as yanked
from helioimages.spec.environment import parse_environment
from helioimages.spec.image import parse_image

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "reference.md").read_text()
# What one process of ours tells another.
OWN = {"HELIOIMAGES_BOOTSTRAPPED", "HELIOIMAGES_HUB", "HELIOIMAGES_HUB_LOGINS"}
MAXIMAL = """
name = "x"
title = "x"
description = "x"
environment = "x"
[user]
name = "x"
uid = 1
gid = 1
home = "/x"
[[dirs]]
path = "x"
[hub.resources.huge]
title = "x"
memory-guarantee = "1G"
memory-limit = "1G"
cpu-guarantee = 1
cpu-limit = 1
"""


def _make():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_verbs_are_the_command_lines_own():
    make = _make()
    assert make.page(TEXT) == TEXT, "run `python docs/make_reference.py`"
    assert "### publish\n" in TEXT and "`--exclude-newer`" in TEXT


def test_every_option_says_what_it_is():
    silent = [
        f"{name} {option.opts[0]}" for name, verb in main.commands.items() for option in verb.params if not said(option)
    ]
    assert silent == []
    assert [name for name, verb in main.commands.items() if not verb.help] == []


def said(option: click.Parameter) -> str:
    return option.help if isinstance(option, click.Option) else option.name


def test_every_verb_is_in_the_readme_and_in_a_task():
    readme = (ROOT / "README.md").read_text()
    assert [name for name in main.commands if f"| `{name}` |" not in readme] == []
    texts = [block.text for page in PAGES if page != "docs/reference.md" for block in blocks(page)]
    used = {words[1] for text in texts if "buildimages" in text for words in spoken(text) if len(words) > 1}
    assert sorted(main.commands.keys() - used) == []


def test_every_image_is_in_the_readme_and_on_the_first_page():
    for page in ("README.md", "docs/index.md"):
        text = (ROOT / page).read_text()
        assert [name for name in load_images(ROOT) if f"| `{name}` |" not in text] == []


def spoken(text: str) -> list[list[str]]:
    """Return the commands of a block that call us."""
    spoken_commands = commands(text.replace("python3 tools/buildimages.py", "buildimages"))
    return [words for words in spoken_commands if words[0] == "buildimages"]


def test_every_exit_code_is_there():
    rows = dict(re.findall(r"^\| (\d+) \| (\w+)", TEXT, re.MULTILINE))
    assert {str(int(stage)): stage.name.lower() for stage in Stage}.items() <= rows.items()


@pytest.fixture
def asked(monkeypatch) -> set[str]:
    """Record every key that a reader asks a document for."""
    options: set[str] = set()
    take = reading.Table.take

    def recorded(self, name, kind, default=...):
        options.add(".".join(part for part in (self.key, name) if part))
        return take(self, name, kind, default)

    monkeypatch.setattr(reading.Table, "take", recorded)
    return options


def test_every_key_of_image_toml_is_there(asked):
    parse_image(MAXIMAL, ROOT, "images/x/image.toml")
    sections = (
        *("debian", "layers", "budget", "build", "smoke", "config", "user"),
        *("hub", "hub.resources", "hub.resources.huge"),
    )
    nested = {*sections, "dirs"}
    keys = {re.sub(r"^dirs\[0\]", "dirs[]", key) for key in asked - nested}
    keys = {key.removeprefix("hub.resources.huge.") for key in keys}
    assert {"budget.compressed-mib", "dirs[].mode", "tolerations", "hub.default"} <= keys
    assert sorted(key for key in keys if f"`{key}`" not in TEXT) == []


def test_every_key_of_environment_yml_is_there(asked):
    text = """
name: x
channels: [local]
dependencies: [python, pip: [numpy]]
x-helioimages:
  build:
    numpy: {reason: x}
  link-scripts: [{package: tool, sha256: "%s", reason: x}]
  patches: [{package: numpy, version: "1", file: numpy.patch, reason: x, upstream: "https://example.org/1"}]
""" % ("0" * 64)
    parse_environment(text, ROOT, "environments/x/environment.yml")
    keys = {
        key.replace("build.numpy", "build.<name>").replace("[0]", "[]")
        for key in asked - {"x-helioimages", "dependencies[1].pip"}
    }
    keys -= {"x-helioimages.build.<name>"}
    assert {"x-helioimages.clobber", "x-helioimages.build.<name>.after"} <= keys
    assert sorted(key for key in keys if f"`{key}`" not in TEXT) == []


def test_every_key_of_recipes_toml_is_there(asked):
    recipes.read_recipes((ROOT / recipes.RECIPES).read_text())
    keys = {re.sub(r"\[\d+\]", "[]", key) for key in asked} - {"source", "package"}
    assert {"timestamp", "source[].pool", "package[].build_suffix"} <= keys
    assert sorted(key for key in keys if f"`{key}`" not in TEXT) == []
    section = TEXT.partition("## Recipes of the local channel")[2].partition("\n## ")[0]
    assert set(re.findall(r"`((?:source|package)\[\]\.\w+)`", section)) == keys - {"timestamp"}


def test_every_key_of_yanked_toml_is_there(asked):
    yanked.parse('[[yanked]]\ntag = "2026.11.19"\nreason = "x"\ndate = 2026-11-20\n', "base", "yanked.toml")
    page = (ROOT / "docs" / "trust.md").read_text()
    keys = {key.removeprefix("yanked[0].") for key in asked - {"yanked"}}
    assert {"tag", "aliases", "level"} <= keys
    assert sorted(key for key in keys if f"`{key}`" not in page) == []


def test_every_label_and_environment_variable_is_there():
    modules = "".join(path.read_text() for path in sorted((ROOT / "tools" / "helioimages").rglob("*.py")))
    # Others are on containers, not on images.
    ours = "".join((ROOT / "tools" / "helioimages" / name).read_text() for name in ("make/labels.py", "locks/cuda.py"))
    labels = set(re.findall(r'"(io\.helioimages\.[\w.]+\w)"', ours))
    assert {"io.helioimages.lock", "io.helioimages.cuda.driver"} <= labels
    variables = set(re.findall(r'"(HELIOIMAGES_\w+)"', modules)) - OWN
    assert {"HELIOIMAGES_STORE", "HELIOIMAGES_DEBIAN_MIRROR"} <= variables
    assert sorted(name for name in labels | variables if f"`{name}`" not in TEXT) == []


def test_links_lead_somewhere():
    for page in (ROOT / name for name in PAGES):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            # GitHub's own page of a workflow, as it is reached from a file of the repository.
            workflow = re.sub(r"^\.\./\.\./actions/(workflows/[\w-]+\.yml)(/badge\.svg)?$", r".github/\1", target)
            assert (page.parent / workflow).exists(), f"{page.name}: {target}"
