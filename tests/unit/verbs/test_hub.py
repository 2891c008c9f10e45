"""The verbs `profiles` and `delta` as people call them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
import yaml
from catalogue_support import catalogue, entry, page, tag_of
from click.testing import CliRunner, Result
from command_line import main

from helioimages.catalogue.model import document
from helioimages.spec.yanks import Yank


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call the command with a store of its own."""
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, [str(word) for word in arguments])

    return run


def written(path: Path, *entries) -> Path:
    path.write_text(json.dumps(document(catalogue(page("helio", *entries)))))
    return path


def test_profiles_are_written_and_checked(call, tmp_path):
    file = written(tmp_path / "catalogue.json", entry(), entry(day=1))
    output = tmp_path / "profiles.yaml"
    done = call("profiles", "--catalogue", file, "--output", output)
    assert (done.exit_code, done.stdout) == (0, f"{output}\n")
    choices = yaml.safe_load(output.read_text())["singleuser"]["profileList"][0]["profile_options"]["image"]["choices"]
    assert list(choices) == ["helio-2026-05-06", "helio-2026-05-05"]
    assert call("profiles", "--catalogue", file, "--output", output, "--check").stdout == f"{output}: up to date\n"

    yank = Yank(image="helio", reason="x", date=datetime.date(2026, 6, 1), tag=tag_of(1))
    written(file, entry(), entry(day=1, advisory=yank))
    before = output.read_text()
    refused = call("profiles", "--catalogue", file, "--output", output, "--check")
    assert refused.exit_code == 12
    assert f"`{output}` is not what the registry offers now" in refused.stderr
    assert "-          helio-2026-05-06:" in refused.stderr
    assert output.read_text() == before


def test_profiles_as_json_and_without_typing(call, tmp_path):
    file = written(tmp_path / "catalogue.json", entry())
    made = json.loads(call("profiles", "--catalogue", file, "--unlisted", "none", "--json").stdout)
    assert "unlisted_choice" not in made[0]["profile_options"]["image"]


def test_profiles_lead_to_the_catalogue(call, tmp_path):
    file = written(tmp_path / "catalogue.json", entry())
    made = json.loads(call("profiles", "--catalogue", file, "--json", "--site", "https://x.example/?a&b").stdout)
    assert made[0]["description"].endswith(
        '. <a href="https://x.example/?a&amp;b" target="_blank" rel="noopener">What is in the images</a>'
    )
    assert "<a " not in json.loads(call("profiles", "--catalogue", file, "--json").stdout)[0]["description"]
    done = call("profiles", "--catalogue", file, "--site", "javascript:alert(1)")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (2, "error: `javascript:alert(1)` is no address of a site")


@pytest.mark.parametrize("text", ["{", '{"version": 2}', "[]"])
def test_a_file_that_is_no_catalogue(call, tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    done = call("profiles", "--catalogue", tmp_path / "x.json")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: `{tmp_path}/x.json` is not a catalogue\n")


def test_delta_needs_two(call):
    done = call("delta", "base")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: delta compares two images\n  expected 2 names not 1\n\nhint: delta A B\n",
    )


def test_delta_of_locks_as_json(call):
    told = json.loads(call("delta", "base", "helio", "--json").stdout)
    assert (told["old"], told["new"], told["exact"]) == ("base", "helio", False)
    assert sum(layer["size"] for layer in told["pull"]) == told["pull_bytes"]
