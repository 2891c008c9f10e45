"""No command of the documentation is unaccounted for: it is run (tests/integration/test_commands.py), or says why not.

Those that are not run are at least commands that their program would take.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence

import click
import pytest
import yaml
from command_line import main
from pages import NOTES, PAGES, ROOT, Block, blocks, commands, inline_code

# Why a block may say that it is not run; what `does` it must be a file here.
REASONS = {
    "it asks today's world",
    "it needs Apptainer",
    "it needs OSV's server",
    "it needs a Kubernetes cluster",
    "it needs a gateway",
    "it needs an NVIDIA GPU",
    "it needs an account",
    "it needs conda-forge",
    "it needs cosign",
    "it needs oras",
    "it needs quay.io",
    "it needs the values of your hub",
    "it needs licensed IDL",
    "it asks today's index",
    "it takes a quarter of an hour",
    "ten rounds take an hour and a half on two cores",
    "it takes as long as the tests themselves",
    "it takes half an hour for helio",
    "it takes twenty minutes, and asks index and mirror for 2.5 GB",
    "it takes five minutes of a processor",
    "it takes six minutes",
}
DOES = re.compile(r"`([^`]+)` does")
RUNS = re.compile(
    r"in the image|until it serves|by (?P<file>\S+)|(?:after (?P<step>[^,]+))?(?:, )?(?:ends with (?P<code>\d+))?"
)
LANGUAGES = {"sh", "python", "yaml", "toml", "json", "dockerfile", "text", "{toctree}"}
PROGRAMS = (
    "buildimages",
    "docker",
    "podman",
    "skopeo",
    "python",
    "python3",
    "pip",
    "git",
    "tests/run",
    "tests/needs",
    "docs/build",
    "$",
)
# Nothing here can say whether they know an option.
ELSEWHERE = {"apptainer", "aws", "cosign", "helm", "nvidia-smi", "oras"}
# Of images, not of this machine.
OF_IMAGES = {"python", "helioimages-info", "jupyter", "mpif90", "mpirun", "pandoc"}

ALL = [block for page in (*PAGES, *NOTES) for block in blocks(page)]
SHELL = [block for block in ALL if block.language == "sh"]


def named(blocks: Sequence[Block]) -> list:
    return [pytest.param(block, id=block.name) for block in blocks]


@pytest.mark.parametrize("block", named(ALL))
def test_a_block_says_what_it_is(block: Block):
    assert block.language in LANGUAGES, "fence it, and name its language"
    if block.language == "text":
        assert [line for line in block.text.splitlines() if line.strip().split(" ")[0] in PROGRAMS] == []
    if block.file:
        assert block.language != "sh" and not block.file.startswith("/")
    assert RUNS.fullmatch(block.run), f"`{block.run}` is nothing that test_commands.py knows"
    assert not (block.run and block.reason)


@pytest.mark.parametrize("block", named([block for block in SHELL if block.page in NOTES]))
def test_a_note_is_not_run(block: Block):
    assert block.reason or block.run.startswith("by ")


@pytest.mark.parametrize("block", named([block for block in ALL if block.reason]))
def test_a_block_that_is_not_run_has_a_reason(block: Block):
    if match := DOES.fullmatch(block.reason):
        assert (ROOT / match[1]).is_file()
    else:
        assert block.reason in REASONS


def test_every_reason_is_one_of_a_block():
    assert {block.reason for block in ALL if block.reason and not DOES.fullmatch(block.reason)} == REASONS


@pytest.mark.parametrize("block", named([block for block in ALL if block.run.startswith("by ")]))
def test_what_a_script_runs_is_in_that_script(block: Block):
    script = (ROOT / block.run.removeprefix("by ")).read_text()
    for words in commands(block.text):
        program, *rest = words
        if program == "python3" and rest[0] == "tools/buildimages.py":
            wanted = [f"{rest[0]} {rest[1]}"]
        elif program == "buildimages":
            wanted = [f'"{word}"' for word in rest]
        else:
            wanted = rest or words
        assert [word for word in wanted if word not in script] == []


@pytest.mark.parametrize(
    "block", named([block for block in ALL if block.language in ("yaml", "toml", "json", "python")])
)
def test_documents_are_well_formed(block: Block):
    if block.language == "yaml":
        assert yaml.safe_load(block.text)
    elif block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "json":
        assert json.loads(block.text)
    else:
        compile(block.text, block.name, "exec")


@pytest.mark.parametrize("block", named(SHELL))
def test_the_shell_and_the_programs_would_take_it(block: Block):
    subprocess.run(["bash", "-n", "-c", block.text], check=True)
    for words in commands(block.text):
        if fault := refused(words, in_image=block.run == "in the image" or bool(DOES.fullmatch(block.reason))):
            pytest.fail(f"{block.name}: `{' '.join(words)}`: {fault}")


@pytest.mark.parametrize("page", [*PAGES, *NOTES])
def test_commands_inside_sentences_are_the_command_lines_own(page: str):
    for line, text in inline_code(page):
        words = text.replace("python3 tools/buildimages.py", "buildimages").split()
        if len(words) < 2 or words[0] != "buildimages" or words[1] in ("…", "VERB") or words[1].startswith("-"):
            continue
        if fault := refused([word for word in words if word != "…"]):
            pytest.fail(f"{page}:{line}: `{text}`: {fault}")


def test_a_command_that_nobody_takes_is_found():
    assert refused(["buildimages", "lock", "--updates", "x"]) == "No such option '--updates'. Did you mean '--update'?"
    assert refused(["buildimages", "mend"]) == "no verb `mend`"
    assert refused(["tests/run", "tests/faults", "--killls", "3"]) == "no test takes --killls"
    assert refused(["frobnicate"]) == "nobody checks `frobnicate`"
    if shutil.which("skopeo"):
        assert refused(["skopeo", "copy", "--every"]) == "`skopeo copy` does not know --every"


def refused(words: Sequence[str], *, in_image: bool = False) -> str:
    """Return what a program would say against a command; empty if nothing, or if the program is not here."""
    program, *rest = words
    if program == "python3" and rest[:1] == ["tools/buildimages.py"]:
        program, *rest = ["buildimages", *rest[1:]]
    options = long_options(rest)
    if program == "buildimages":
        return _verb(rest)
    if program in ("tests/run", "tests/needs", "docs/build", "python3"):
        script = program if program != "python3" else rest[0]
        text = (ROOT / script).read_text() if (ROOT / script).is_file() else ""
        if script == "tests/run":
            text += "".join(path.read_text() for path in sorted((ROOT / "tests").rglob("conftest.py")))
        missing = [option for option in options if f'"{option}"' not in text]
        return f"no test takes {missing[0]}" if missing and text else "" if text else f"no script `{script}`"
    if program in ELSEWHERE or (in_image and (program in OF_IMAGES or "/" in program or program == "pip")):
        return ""
    if program in ("docker", "kubectl", "skopeo"):
        return _helped(program, rest)
    known = program in ("cp", "curl", "cut", "echo", "git", "grep", "mkdir", "openssl") or (
        program == "python" and rest[0] in ("-m", "-c")
    )
    return "" if known else f"nobody checks `{program}`"


def _verb(rest: Sequence[str]) -> str:
    command = main.commands.get(rest[0])
    if command is None:
        return f"no verb `{rest[0]}`"
    try:
        command.make_parser(click.Context(command, info_name=rest[0])).parse_args(list(rest[1:]))
    except click.UsageError as error:
        return error.format_message()
    return ""


def _helped(program: str, rest: Sequence[str]) -> str:
    while rest[0].startswith("--"):  # of the program itself, with a value
        rest = rest[2:]
    depth = {"image": 2, "rollout": 2, "create": 3}.get(rest[0], 1)
    text = _help(program, tuple(rest[:depth]))
    missing = [option for option in long_options(rest) if text and not re.search(rf"{option}\b", text)]
    return f"`{program} {' '.join(rest[:depth])}` does not know {missing[0]}" if missing else ""


def long_options(words: Sequence[str]) -> list[str]:
    """Return the long options of a command, without their values."""
    return [word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2]


@functools.cache
def _help(program: str, words: tuple[str, ...]) -> str:
    """Return a program's own help; empty where it is not installed."""
    if not shutil.which(program):
        return ""
    done = subprocess.run(
        [program, *words, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30
    )
    return done.stdout


def test_the_site_has_every_page():
    """Sphinx takes a page that no table of contents names for a mistake, and what is not in `docs/` it never sees."""
    spec = importlib.util.spec_from_file_location("conf", ROOT / "docs" / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop("conf", None)
    listed = next(block for block in blocks("docs/index.md") if block.language == "{toctree}").text
    pages = {page.removeprefix("docs/").removesuffix(".md") for page in PAGES if page.startswith("docs/")}
    assert set(re.findall(r"<(\S+)>", listed)) == pages - {"index"}
