"""The workflows: GitHub's own schema, zizmor's audits, and rules of ours that neither has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from command_line import main

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
WRITES = {
    "publish.yml": {"publish": {"id-token", "packages"}},
    "relock.yml": {"propose": {"actions", "contents", "pull-requests"}},
}
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def tool(name: str) -> Path:
    path = Path(sys.executable).parent / name
    if not path.exists():
        pytest.skip(f"{name} is not installed (extra `test`)")
    return path


def jobs(path: Path) -> dict[str, dict]:
    return yaml.safe_load(path.read_text())["jobs"]


def steps(path: Path) -> list[dict]:
    return [step for job in jobs(path).values() for step in job["steps"]]


def test_the_workflows_that_the_docs_speak_of_are_there():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "publish.yml", "relock.yml"]


@pytest.mark.parametrize(
    ("schema", "files"), [("github-workflows", WORKFLOWS), ("dependabot", [FOLDER / "dependabot.yml"])]
)
def test_they_are_of_githubs_schema(schema, files):
    program = pytest.importorskip("check_jsonschema").main
    done = CliRunner().invoke(program, ["--builtin-schema", f"vendor.{schema}", *map(str, files)])
    assert done.exit_code == 0, done.output


def test_zizmor_finds_nothing():
    command = [tool("zizmor"), "--offline", "--no-progress", "--persona=pedantic", "--min-severity=low", FOLDER]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_actions_are_pinned_by_commit_and_say_their_version(path):
    for line in re.findall(r"uses:\s*(.+)", path.read_text()):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@each
def test_rights_are_given_job_by_job(path):
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    for name, job in jobs(path).items():
        writes = {right for right, level in job["permissions"].items() if level == "write"}
        assert writes == WRITES.get(path.name, {}).get(name, set()), name
        assert job["timeout-minutes"] <= 240


@each
def test_scripts_are_bash_and_no_expression_is_pasted_into_them(path):
    assert yaml.safe_load(path.read_text())["defaults"] == {"run": {"shell": "bash"}}
    for step in steps(path):
        if script := step.get("run"):
            assert "${{" not in script, script
            done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
            assert done.returncode == 0, done.stderr


@each
def test_every_verb_and_option_that_they_call_is_there(path):
    calls = 0
    for step in steps(path):
        script = step.get("run", "").replace("\\\n", " ")
        for verb, rest in re.findall(r"tools/buildimages\.py (\w+)([^|>)\n]*)", script):
            calls += 1
            text = CliRunner().invoke(main, [verb, "--help"]).output
            assert "Usage:" in text, verb
            missing = [option for option in re.findall(r"--[a-z][a-z-]*", rest) if option not in text]
            assert missing == [], f"{verb} has no {missing}"
    assert calls > 1


def test_foreign_code_and_the_right_to_write_contents_are_apart():
    propose = jobs(FOLDER / "workflows" / "relock.yml")["propose"]
    text = "\n".join(step.get("run", "") for step in propose["steps"])
    assert "buildimages" not in text and "tests/run" not in text


def test_the_cache_is_read_where_others_commit_and_written_where_images_are_published():
    """Forks' jobs name it to read; who makes the proof, on the default branch, names none."""
    proof, others = next(
        step["run"]
        for step in jobs(FOLDER / "workflows" / "ci.yml")["image"]["steps"]
        if "render" in step.get("run", "")
    ).split("else\n", 1)
    assert "render --check" in proof and "CACHE" not in proof
    assert "HELIOIMAGES_CACHE=" in others.split("fi\n")[0] and "--check" not in others
    writers = [
        (path.name, name)
        for path in WORKFLOWS
        for name, job in jobs(path).items()
        if any("buildimages.py publish" in step.get("run", "") for step in job["steps"])
    ]
    assert writers == [("publish.yml", "publish")]


def run_publish(folder: Path, key: str) -> list[str]:
    """Run what `publish.yml` runs, with programs that do nothing, and return the words that the tool got."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    stubs = {name: "exit 0" for name in ("sudo", "docker", "jq")}
    # The key is in the file that the tool is told, for its owner alone, and nowhere in its environment.
    stubs["python3"] = (
        """printf '%s\\n' "$@" > words; if [ -e cache.key ]; then stat -c %a cache.key > mode; fi; env > env"""
    )
    for name, text in stubs.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    (step,) = (step for step in steps(FOLDER / "workflows" / "publish.yml") if "py publish" in step.get("run", ""))
    assert set(step["env"]) == {"CACHE_KEY", "IMAGES", "TOKEN"}
    given = {
        "CACHE_KEY": key,
        "IMAGES": "base helio",
        "TOKEN": "t",
        "GITHUB_ACTOR": "a",
        "GITHUB_REPOSITORY_OWNER": "Team",
    }
    given |= {
        "RUNNER_TEMP": str(folder),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "PATH": f"{programs}:/usr/bin:/bin",
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]], cwd=folder, env=given, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return (folder / "words").read_text().split("\n")[:-1]


def test_images_are_published_thin_where_there_is_a_key(tmp_path):
    """Who signs by a command alone reads each layer (`tests/unit/publish/test_thin.py`)."""
    plain = run_publish(tmp_path / "plain", "")
    assert plain[:4] == ["tools/buildimages.py", "publish", "base", "helio"]
    assert plain[4:10] == ["--registry", "ghcr.io", "--prefix", "team/", "--before-tag", ".github/sign.sh"]
    assert "--key" not in plain
    signed, folder = run_publish(tmp_path / "signed", "-----BEGIN x-----\nabc"), tmp_path / "signed"
    at = signed.index("--key")
    assert signed[at : at + 2] == ["--key", str(folder / "cache.key")]
    assert signed[:at] + signed[at + 2 :] == plain
    assert (folder / "cache.key").read_text() == "-----BEGIN x-----\nabc\n"
    assert (folder / "mode").read_text() == "600\n"
    assert "BEGIN x" not in (folder / "env").read_text()
    text = CliRunner().invoke(main, ["publish", "--help"]).output
    assert [word for word in signed if word.startswith("--") and word not in text] == []


def test_what_layers_cost_is_compared_on_every_commit():
    """Not in a test: those are not timed (`tests/unit/test_layer_work.py` tests the comparison)."""
    job = jobs(FOLDER / "workflows" / "ci.yml")["cost"]
    script = job["steps"][-1]["run"].replace("\\\n", " ")
    words = re.search(r"python3 (benchmarks/layer_work\.py) ([^|]*)", script)
    assert {"--most", "--against"} <= {*words[2].split()}
    text = (ROOT / words[1]).read_text()
    assert [word for word in words[2].split() if word.startswith("--") and f'"{word}"' not in text] == []
