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
    }.items():
        (root / path).parent.mkdir()
        (root / path).write_text(text)
        (root / path).chmod(0o755)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python3", "df", "apt-get", "sudo", "id"):
        (programs / name).write_text(
            {
                "python3": TOOL,
                "df": '#!/bin/sh\nprintf "Avail\\n %sG\\n" "${FREE:-100}"\n',
                "apt-get": '#!/bin/sh\necho "apt-get $*" >> calls\n',
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


def run(checkout: Path, *, there: tuple[str, ...] = (), **environment: str) -> Outcome:
    """Run the script.

    Args:
        there: further programs that the machine has.
    """
    programs = checkout.parent / "bin"
    for name in there:
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        [".ci/run"],
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
    return Outcome(
        code=done.returncode, output=done.stdout, calls=tuple(calls.read_text().splitlines()) if calls.exists() else ()
    )


ALL = ("chromium", "docker", "ps", "curl", "gcc", "gpg", "openssl", "skopeo", "podman")


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
        "installing what the tests need",
        "choosing images",
        "up",
        "render --check",
        "installing podman for the tests",
        "tests/run",
        "in all",
    ]


def test_of_a_run_that_failed_too(checkout):
    done = run(checkout, there=ALL, UP="12")
    assert (done.code, done.stages[-2:]) == (12, ["up (failed: 12)", "in all"])
    assert (done.calls[-1], "tests/run" in done.calls) == ("down", False)


def test_what_a_fresh_machine_lacks_is_installed(checkout):
    done = run(checkout, there=("openssl",))
    assert done.code == 0, done.output
    assert done.calls[:2] == (
        "apt-get update -qq",
        "apt-get install -y -qq --no-install-recommends chromium procps curl gcc libc6-dev gpg skopeo",
    )


def test_podman_comes_after_the_tools_own_engine(checkout):
    """Where podman is and no docker, the tool takes podman for the machine's engine."""
    calls = run(checkout, there=tuple(name for name in ALL if name != "podman")).calls
    assert [call.split()[0] for call in calls[1:3]] == ["up", "render"]
    assert calls[3:] == (
        "apt-get update -qq",
        "apt-get install -y -qq --no-install-recommends podman",
        "tests/run",
        "down",
    )


def test_the_list_of_packages_is_asked_for_once(checkout):
    calls = run(checkout).calls
    assert [call.split()[1] for call in calls if call.startswith("apt-get")] == ["update", "install", "install"]


@pytest.mark.parametrize(("there", "installed"), [(("apt-cache",), ["docker-cli"]), ((), [])])
def test_the_engines_client_is_a_package_of_its_own_since_debian_13(checkout, there, installed):
    done = run(checkout, there=(*there, *(name for name in ALL if name != "docker")))
    assert done.code == 0, done.output
    asked = [call.split("--no-install-recommends ")[1:] for call in done.calls if call.startswith("apt-get install")]
    assert [name for names in asked for name in names] == installed


def test_another_browser_will_do(checkout):
    """Ubuntu's package `chromium` is none."""
    done = run(checkout, there=("google-chrome", *ALL[1:]))
    assert [call for call in done.calls if call.startswith("apt-get")] == []
