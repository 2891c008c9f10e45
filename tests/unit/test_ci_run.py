"""`.ci/run` in a small checkout, with programs of ours in place of the tool and the tests: what it makes and says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Says what it is called with, and which images a change concerns.
TOOL = """#!/bin/sh
shift
echo "$*" >> calls
case "$*" in
  *--names*) printf '%s' "$CHANGED" ;;
  changed*) echo "$2: a/file (its files)"; echo "$2: another/file (its files)" ;;
  up*) exit "${UP:-0}" ;;
esac
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run left.

    Attributes:
        calls: of the tool, without `python3 tools/buildimages.py`.
    """

    code: int
    output: str
    calls: tuple[str, ...]

    @property
    def stages(self) -> list[str]:
        """The table in the end, without the seconds."""
        return re.findall(r"^ *\d+ s  (.+)$", self.output, re.MULTILINE)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout with four images and a `python3` that is the tool."""
    root = tmp_path / "checkout"
    for image in ("base", "helio", "idl-fortran", "ml-gpu"):
        (root / "images" / image).mkdir(parents=True)
        (root / "images" / image / "image.toml").write_text("heavy = true\n" if image == "ml-gpu" else "")
    for path, text in {
        ".ci/run": (ROOT / ".ci/run").read_text(),
        "tests/run": "#!/bin/sh\necho tests/run >> calls\n",
        "tests/needs": (ROOT / "tests/needs").read_text(),
    }.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
        (root / path).chmod(0o755)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python3", "df", "apt-get", "dpkg-query", "sudo", "id"):
        (programs / name).write_text(
            {
                "python3": TOOL,
                "df": '#!/bin/sh\nprintf "Avail\\n %sG\\n" "${FREE:-100}"\n',
                "apt-get": '#!/bin/sh\necho "apt-get $*" >> calls\n',
                "dpkg-query": '#!/bin/sh\necho "${ENGINE:-}"\n',
                "sudo": '#!/bin/sh\nexec "$@"\n',
                "id": "#!/bin/sh\necho 1000\n",
            }[name]
        )
        (programs / name).chmod(0o755)
    for name in ("bash", "sh", "git", "grep", "sed", "tail", "tr", "basename", "dirname", "env"):
        program = shutil.which(name)
        assert program
        (programs / name).symlink_to(program)
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *argv], cwd=root, check=True)
    return root


def run(checkout: Path, script: str = ".ci/run", *, there: tuple[str, ...] = (), **environment: str) -> Outcome:
    """Run a script.

    Args:
        there: further programs that the machine has.
        environment: ENGINE is what the machine's packages say of docker's.
    """
    programs = checkout.parent / "bin"
    for name in there:
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        [script],
        cwd=checkout,
        env={
            "PATH": str(programs),
            "HOME": str(checkout),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "CHANGED": "",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    calls = checkout / "calls"
    told = tuple(calls.read_text().splitlines()) if calls.exists() else ()
    calls.unlink(missing_ok=True)
    return Outcome(code=done.returncode, output=done.stdout, calls=told)


ALL = ("chromium", "docker", "ps", "curl", "gcc", "gpg", "gpg-agent", "openssl", "skopeo", "podman")


def test_base_and_helio_are_made_when_nothing_changed(checkout):
    done = run(checkout, there=ALL)
    assert done.code == 0, done.output
    assert done.calls[0].startswith("changed --since ") and done.calls[0].endswith(" --names")
    assert [call.split() for call in done.calls[1:]] == [
        ["up", "base", "helio"],
        ["render", "--check", "base", "helio"],
        ["tests/run"],
        ["down"],
    ]
    assert re.search(
        r"^not built in this run: idl-fortran \(nothing of it changed since \w{12}\)", done.output, re.MULTILINE
    )


def test_an_image_that_a_change_concerns_is_made_too_and_the_reason_is_said(checkout):
    done = run(checkout, there=ALL, CHANGED="base\nidl-fortran\n")
    assert "up base helio idl-fortran" in [" ".join(call.split()) for call in done.calls]
    assert "idl-fortran: a/file (its files)\n" in done.output
    assert "another/file" not in done.output


def test_a_heavy_image_that_a_change_concerns_is_left_out_and_said(checkout):
    done = run(checkout, there=ALL, CHANGED="ml-gpu\n")
    assert "up base helio" in [" ".join(call.split()) for call in done.calls]
    assert " ml-gpu (heavy: made when HELIOIMAGES_CI_IMAGES names it; its inputs changed)\n" in done.output


def test_a_heavy_image_is_made_when_it_is_named(checkout):
    done = run(checkout, there=ALL, HELIOIMAGES_CI_IMAGES="ml-gpu")
    assert "up base helio ml-gpu" in [" ".join(call.split()) for call in done.calls]
    assert "ml-gpu (heavy" not in done.output


def test_a_heavy_image_for_which_there_is_no_room_is_refused_before_any_work(checkout):
    done = run(checkout, there=ALL, HELIOIMAGES_CI_IMAGES="ml-gpu", FREE="39")
    assert (done.code, "error: ml-gpu takes 40 GB of disk, and 39 are free\n" in done.output) == (11, True)
    assert not [call for call in done.calls if call.startswith("up")]


def test_the_seconds_of_each_stage_are_printed(checkout):
    assert run(checkout, there=ALL).stages == [
        "choosing images",
        "up",
        "render --check",
        "tests/needs",
        "tests/run",
        "in all",
    ]


def test_of_a_run_that_failed_too(checkout):
    done = run(checkout, there=ALL, UP="12")
    assert (done.code, done.stages[-2:]) == (12, ["up (failed: 12)", "in all"])
    assert (done.calls[-1], "tests/run" in done.calls) == ("down", False)


def asked_for(outcome: Outcome) -> list[str]:
    """Return the packages that were asked for, in one call."""
    assert outcome.code == 0, outcome.output
    calls = [call.split("--no-install-recommends ")[1].split() for call in outcome.calls if " install " in call]
    assert len(calls) <= 1
    return calls[0] if calls else []


def test_what_a_fresh_machine_lacks_is_installed_after_the_tools_own_engine(checkout):
    """Where podman is and no docker, the tool takes podman for the machine's engine."""
    done = run(checkout, there=("openssl",), ENGINE="installed")
    assert done.calls[1:3] == ("up base helio", "render --check base helio")
    assert done.calls[3:] == (
        "apt-get update -qq",
        "apt-get install -y -qq --no-install-recommends chromium procps curl gcc libc6-dev gpg gpg-agent "
        "skopeo podman nftables passt slirp4netns",
        "tests/run",
        "down",
    )


def test_podman_is_left_out_where_there_is_no_docker_and_that_is_said(checkout):
    lacking = tuple(name for name in ALL if name not in ("podman", "docker"))
    done = run(checkout, "tests/needs", there=lacking)
    assert asked_for(done) == []
    assert (
        "podman is left out until there is a Docker engine: run tests/needs again after `buildimages up`" in done.output
    )
    assert asked_for(run(checkout, "tests/needs", there=lacking, ENGINE="installed")) == [
        "podman",
        "nftables",
        "passt",
        "slirp4netns",
    ]
    assert asked_for(run(checkout, "tests/needs", there=lacking, ENGINE="config-files")) == []


def test_nothing_is_asked_for_where_nothing_lacks(checkout):
    assert run(checkout, "tests/needs", there=ALL).calls == ()


@pytest.mark.parametrize(("there", "installed"), [(("apt-cache",), ["docker-cli"]), ((), [])])
def test_the_engines_client_is_a_package_of_its_own_since_debian_13(checkout, there, installed):
    done = run(checkout, "tests/needs", there=(*there, *(name for name in ALL if name != "docker")))
    assert asked_for(done) == installed


def test_another_browser_will_do(checkout):
    """Ubuntu's package `chromium` is none."""
    assert run(checkout, "tests/needs", there=("google-chrome", *ALL[1:])).calls == ()
