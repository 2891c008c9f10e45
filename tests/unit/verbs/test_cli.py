"""The command line as people meet it: a wrong word is told before any work, and what was asked for as JSON is JSON."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result
from command_line import main

from buildimages import VERBS
from helioimages.core import progress
from helioimages.engines import engine
from helioimages.machine import host
from helioimages.make import images, relocking
from helioimages.make.machine import Machine
from helioimages.publish import release
from helioimages.smoke import stage as smoking
from helioimages.verbs import command
from helioimages.works import stage as working

running = import_module("helioimages.verbs.run")
TOOLS = {"PYTHONPATH": str(Path(__file__).parents[3] / "tools")}
CATALOGUE = {"version": 1, "registry": "ghcr.io", "images": [{"name": "a", "title": "A", "repository": "a"}]}


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call the command on a machine that may not be changed, with a store of its own."""
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(host, "ensure", lambda: None)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in arguments])

    return run


def no_work(*_args, **_kwargs):
    raise AssertionError("work before the words were read")


def test_lock_reads_names_before_it_compiles_the_channel(call, monkeypatch):
    monkeypatch.setattr(relocking, "channel_dir", no_work)
    done = call("lock", "hellio")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: there is no environment or image `hellio`\n"
        "  expected one of base, helio, idl-fortran, ml-gpu, ml-tf\n\n"
        "hint: did you mean `helio`?\n",
    )


def test_context_without_a_folder_builds_nothing(call, monkeypatch):
    monkeypatch.setattr(images, "build", no_work)
    done = call("context", "base")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: a folder for `base` is not named\n\nhint: buildimages context base FOLDER\n",
    )


@pytest.mark.parametrize("words", [["run", "--from"], ["extend", ".", "--from"], ["publish-work", ".", "--image"]])
@pytest.mark.parametrize("image", ["Helio", "ghcr.io/org/helio:a b"])
def test_a_word_that_names_no_image_is_told_before_anything_is_installed(call, monkeypatch, tmp_path, words, image):
    monkeypatch.setattr(host, "ensure", no_work)
    monkeypatch.setattr(working, "check", lambda _order: None)
    monkeypatch.chdir(tmp_path)
    done = call(*words, image)
    assert done.exit_code == 2
    assert done.stderr.startswith(
        f"error: `{image if '/' in image else f'localhost/{image}'}` is not an image reference"
    )


@pytest.mark.parametrize("verb", ["lock", "build", "delta"])
def test_what_is_no_checkout(call, tmp_path, verb):
    words = ["a", "b"] if verb == "delta" else []
    done = call(verb, *words, "--root", tmp_path)
    assert done.exit_code == 2
    assert done.stderr.startswith(
        f"error: `{tmp_path}` is not a checkout\n" if verb != "delta" else "error: `a` names no"
    )


def test_an_installed_tool_finds_the_checkout_around_it(tmp_path, monkeypatch):
    (tmp_path / "images" / "one").mkdir(parents=True)
    inner = tmp_path / "docs" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.setattr(command, "ROOT", tmp_path / "lib" / "python3.13")
    monkeypatch.chdir(inner)
    assert command.checkout() == tmp_path
    monkeypatch.chdir("/")
    assert command.checkout() == Path("/")


def test_the_shell_completes_images(tmp_path):
    for name in ("base", "helio", "helio-old"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "image.toml").touch()
    completing = BashComplete(main, {}, "buildimages", "_BUILDIMAGES_COMPLETE")
    completions = completing.get_completions(["build", "--root", str(tmp_path)], "he")
    assert [completion.value for completion in completions] == ["helio", "helio-old"]
    assert [completion.value for completion in completing.get_completions(["build"], "ml-g")] == ["ml-gpu"]


def test_json_of_verbs_that_print_a_folder(call, monkeypatch, tmp_path):
    monkeypatch.setattr(relocking, "channel_dir", lambda *_args: tmp_path)
    assert json.loads(call("channel", "--json").stdout) == {"folder": str(tmp_path)}
    monkeypatch.setattr(images, "build", lambda _checkout, _machine, names: {name: None for name in names})
    monkeypatch.setattr(images, "context", lambda *_args: None)
    made = call("context", "base", tmp_path / "new", "--json")
    assert json.loads(made.stdout) == {"folder": str(tmp_path / "new")}


def test_context_says_what_builds_the_folder(call, monkeypatch, tmp_path):
    monkeypatch.setattr(images, "build", lambda _checkout, _machine, names: {name: None for name in names})
    monkeypatch.setattr(images, "context", lambda *_args: None)
    done = call("context", "base", tmp_path / "a b")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'a b'}\n")
    assert f"docker build --network none --tag base '{tmp_path / 'a b'}'\n" in done.stderr


@pytest.mark.parametrize(
    ("there", "shown"),
    [
        (("thesis.tex",), "thesis.tex"),
        (("Dockerfile",), "Dockerfile"),
        (("Dockerfile", "layers", "thesis.tex"), "thesis.tex"),
        ((), None),
        (("layers",), None),
        (("Dockerfile", "layers"), None),
    ],
)
def test_context_writes_into_no_folder_of_somebody_else(call, monkeypatch, tmp_path, there, shown):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in there:
        (folder / name).touch()
    monkeypatch.setattr(images, "build", lambda _checkout, _machine, names: {name: None for name in names})
    monkeypatch.setattr(images, "context", lambda *_args: None)
    done = call("context", "base", folder)
    assert done.exit_code == (2 if shown else 0)
    told = (
        f"error: `{folder}` is not empty\n  expected a new folder, or one that `context` made, not one with {shown}\n"
    )
    assert done.stderr.startswith(told) or not shown


def test_json_of_several_reports_is_one_document(call, monkeypatch, tmp_path):
    class Pushed:
        reference = "127.0.0.1:5000/x@sha256:0"

    class Client:
        def __enter__(self):
            return self

        def __exit__(self, *_args):
            pass

    def smoke(_checkout, _machine, _built, _reference, out, _options):
        out.mkdir(parents=True)
        (out / "report.json").write_text(json.dumps({"image": out.name}))

    monkeypatch.setattr(images, "build", lambda _checkout, _machine, names: {name: None for name in names})
    monkeypatch.setattr(release, "connect", lambda *_args: Client())
    monkeypatch.setattr(release, "push_built", lambda *_args: Pushed)
    monkeypatch.setattr(smoking, "smoke", smoke)
    done = call("smoke", "base", "helio", "--json", "--output", tmp_path / "report")
    assert json.loads(done.stdout) == {"base": {"image": "base"}, "helio": {"image": "helio"}}


@pytest.mark.parametrize("form", ["dockerspawner", "dask-gateway"])
def test_json_of_what_has_none(call, form):
    done = call("profiles", "--format", form, "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"`{form}` has no form in JSON" in done.stderr


@pytest.mark.parametrize(
    ("given", "lacks", "expected"),
    [
        ({"version": 1}, "registry", "a string"),
        (CATALOGUE | {"images": [{}]}, "images[0].name", "a string"),
        (CATALOGUE, "images[0].entries", "an array"),
        (
            CATALOGUE | {"images": [CATALOGUE["images"][0] | {"entries": [{}]}]},
            "images[0].entries[0].reference",
            "a string",
        ),
    ],
)
def test_a_catalogue_that_lacks_keys(call, tmp_path, given, lacks, expected):
    (tmp_path / "x.json").write_text(json.dumps(given))
    done = call("profiles", "--catalogue", tmp_path / "x.json")
    assert (done.exit_code, done.stderr) == (
        2,
        f"error: `{tmp_path}/x.json` is not a catalogue\n  in {tmp_path}/x.json at {lacks}\n"
        f"  expected {expected}, found nothing\n\nhint: `buildimages catalogue` writes one\n",
    )


@pytest.mark.parametrize("text", [None, "", "{"])
def test_advisories_that_cannot_be_read_are_no_finding(call, tmp_path, text):
    """12 is for what was found, so that CI can tell a fault of the image from a wrong path."""
    if text is not None:
        (tmp_path / "osv").mkdir()
    if text:
        (tmp_path / "osv" / "x.json").write_text(text)
    done = call("audit", "base", "--advisories", tmp_path / "osv")
    assert (done.exit_code, done.stdout) == (2, "")


@pytest.mark.parametrize("text", ["nosuch", "nosuch:1", "./nolayout:base", "sha256:12"])
def test_delta_says_what_may_be_compared(call, text):
    done = call("delta", text, "base")
    assert done.exit_code == 2
    assert done.stderr.startswith(
        f"error: `{text}` names no image\n  expected base, helio, idl-fortran, ml-gpu, ml-tf, one of"
    )


@pytest.mark.parametrize("verb", ["smoke", "run"])
def test_a_number_of_gpus_is_read_before_anything_is_built(call, monkeypatch, verb):
    monkeypatch.setattr(images, "build", no_work)
    done = call(verb, "base", "--gpus", "some")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: `--gpus some` is not understood\n  expected `all`, `none` or a number, not 'some'\n",
    )


def test_a_port_is_one(call, monkeypatch):
    monkeypatch.setattr(images, "build", no_work)
    done = call("run", "base", "--port", "99999999")
    assert done.exit_code == 2
    assert "99999999 is not in the range 1<=x<=65535" in done.stderr


@pytest.mark.parametrize("verb", ["channel", "doctor", "prune", "down"])
def test_a_name_that_a_verb_would_not_heed_is_refused(call, verb):
    done = call(verb, "helio")
    assert done.exit_code == 2
    assert "Got unexpected extra argument (helio)" in done.stderr


def test_who_is_ended_politely_tidies_up_and_says_so(call, monkeypatch):
    tidied = []

    def build(*_args, **_kwargs):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            tidied.append(True)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(images, "build", build)
    done = call("build", "base")
    assert (done.exit_code, done.stderr) == (130, "interrupted; the next run goes on from here\n")
    assert tidied == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_help_and_completion_import_click_alone():
    """Libraries take most of a second, which every press of TAB would pay."""
    program = (
        "import sys, buildimages\n"
        "from click.testing import CliRunner\n"
        "from helioimages.verbs.command import program\n"
        "assert CliRunner().invoke(program(buildimages.VERBS), ['--help']).exit_code == 0\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'rich', 'yaml', 'docker', 'requests'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | TOOLS)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_what_makes_no_page_and_draws_no_row_does_not_load_what_does():
    """jinja2 and rich take a tenth each of the time in which `up` starts."""
    program = (
        "import sys, helioimages.verbs.up, helioimages.verbs.publish\n"
        "from helioimages.core import progress\n"
        "with progress.step('a step', always=True): progress.say(':wave: [b]a line[/b]')\n"
        "progress.close()\n"
        "print({'jinja2', 'rich'} & set(sys.modules))\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != progress.VARIABLE}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ | TOOLS)
    assert (done.stdout, done.stderr) == ("set()\n", ":wave: [b]a line[/b]\n    a step: 0.0 s\n")


def test_the_table_has_every_module():
    """A verb's module has its name, and every module of the room is a verb's."""
    files = {path.stem for path in Path(command.__file__).parent.glob("*.py")}
    files -= {"__init__", "caching", "command", "errors", "named_image", "options", "output"}
    files = {name.removesuffix("_").replace("_", "-") for name in files}
    table = {name: line for verbs in VERBS.values() for name, line in verbs.items()}
    assert files == set(table) == set(main.commands)
    assert [name for name, line in table.items() if len(line) > 70 or not line.endswith(".")] == []


def test_the_verbs_are_grouped_and_no_line_is_cut(call):
    text = call("--help").stdout
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", *(f"{heading}:" for heading in VERBS)]
    assert "…" not in text and "..." not in text.replace("[ARGS]...", "")


def test_the_shell_completes_verbs():
    completing = BashComplete(main, {}, "buildimages", "_BUILDIMAGES_COMPLETE")
    assert [completion.value for completion in completing.get_completions([], "pr")] == ["profiles", "prune"]


@pytest.mark.parametrize(("word", "meant"), [("biuld", "build"), ("catalog", "catalogue")])
def test_a_misspelt_verb_is_told_which_was_meant(call, word, meant):
    done = call(word)
    assert done.exit_code == 2
    assert f"No such command '{word}'." in done.stderr
    assert meant in done.stderr.splitlines()[-1]


def test_a_misspelt_image_is_told_which_was_meant(call):
    done = call("build", "hellio")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: there is no image `hellio`\n  expected one of: base, helio, idl-fortran, ml-gpu, ml-tf\n\n"
        "hint: did you mean `helio`?\n",
    )


def test_run_starts_one_image(call, monkeypatch):
    """`run base helio` once started helio and said nothing of base."""
    monkeypatch.setattr(images, "build", no_work)
    done = call("run", "base", "helio")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: `run` starts one image\n  expected one name not 2: base, helio\n\nhint: buildimages run helio\n",
    )


def test_a_taken_port_is_told_before_any_work(call, monkeypatch):
    monkeypatch.setattr(images, "build", no_work)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("run", "base", "--port", port)
    assert (done.exit_code, done.stderr) == (
        2,
        f"error: port {port} of 127.0.0.1 is taken\n\n"
        "hint: choose another --port, or leave it out to have any free one\n",
    )


@pytest.mark.parametrize("busy", [False, True])
def test_a_port_that_was_not_asked_for_gives_way(call, monkeypatch, busy):
    class Client:
        def __enter__(self):
            return self

        def __exit__(self, *_args):
            pass

    class Engine:
        client, address = SimpleNamespace(version=dict, info=dict), "unix:///run/docker.sock"

        def serve(self, reference, *, port, gpus, desk):
            return f"http://127.0.0.1:{port}/lab?token=1"

    with socket.create_server(("127.0.0.1", 0)) as held:
        usual = held.getsockname()[1]
        monkeypatch.setattr(running, "_USUAL", usual)
        monkeypatch.setattr(images, "build", lambda _checkout, _machine, names: {name: None for name in names})
        monkeypatch.setattr(release, "connect", lambda *_args: Client())
        monkeypatch.setattr(release, "push_built", lambda *_args: SimpleNamespace(reference="x@sha256:0"))
        monkeypatch.setattr(running.desk, "desk", lambda *_args: SimpleNamespace(server=dict))
        monkeypatch.setattr(Machine, "engine", Engine())
        if not busy:
            held.close()
        done = call("run", "base")
    assert done.exit_code == 0
    port = int(done.stdout.partition("127.0.0.1:")[2].partition("/")[0])
    assert (port != usual) == busy
    assert (f"    port {usual} is taken, so {port}\n" in done.stderr) == busy


def test_run_can_be_ended(call, monkeypatch):
    monkeypatch.setattr(images, "build", no_work)
    asked = []
    monkeypatch.setattr(
        engine, "running", lambda _store: SimpleNamespace(end_served=lambda port: asked.append(port) or 2)
    )
    assert call("run", "--stop").stdout == "2 stopped\n"
    assert call("run", "--stop", "--port", "8889").stdout == "2 stopped\n"
    assert asked == [None, 8889]
    monkeypatch.setattr(engine, "running", lambda _store: None)
    assert call("run", "--stop").stdout == "nothing runs\n"
    assert json.loads(call("run", "--stop", "--json").stdout) == {"stopped": 0}


def test_a_short_password_of_the_hub_is_refused_before_any_work(call, monkeypatch):
    """The hub once ended with a traceback in its log."""
    monkeypatch.setattr(host, "ensure", no_work)
    done = call("hub", "--password", "sun")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: the hub's password is too short\n  in --password or HELIOIMAGES_HUB_PASSWORD\n"
        "  expected at least 8 characters not 3\n\nhint: leave it out, and one is made\n",
    )


def test_a_taken_port_of_the_hub_is_told_before_a_registry_is_read(call, monkeypatch):
    monkeypatch.setattr(host, "ensure", no_work)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("hub", "--port", port)
    assert (done.exit_code, done.stderr.splitlines()[0]) == (2, f"error: port {port} of 127.0.0.1 is taken")


def test_a_misspelt_notebook_is_told_before_its_image_is_built(call, monkeypatch):
    monkeypatch.setattr(images, "build", no_work)
    done = call("smoke", "base", "--only", "02-dsk")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (2, "error: `base` has no notebook `02-dsk`")
    assert done.stderr.endswith("hint: did you mean `02-dask`?\n")
