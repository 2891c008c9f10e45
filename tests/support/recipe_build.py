"""Packages as rattler-build makes them: its own search for prefixes, its own paths.json, in a process of its own.

It is not among the tests' locked packages (84 MB, and few tests want it): one release of it is fetched from the
package index, by its digest, where an index can be reached.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from conda_support import PLACEHOLDER
from pinned import packages

LOCK = Path(__file__).with_name("rattler-build.lock")
BUILD = """
import sys, warnings
warnings.simplefilter("ignore")
from rattler_build.cli_api import build_recipes
build_recipes([sys.argv[1]], output_dir=sys.argv[2], channel=[], test="skip", no_include_recipe=True)
"""


def fetched() -> Path | None:
    """Return a folder that has rattler-build, None where no index gives it (or not for this machine)."""
    try:
        return packages(LOCK)
    except subprocess.CalledProcessError:
        return None


def build(
    tool: Path, channel: Path, name: str, files: Mapping[str, tuple[bytes, int]], depends: Sequence[str], scratch: Path
) -> Path:
    """Build a package of these files for linux-64 and return it.

    Args:
        tool: as `fetched` gave it.
        files: path -> content and mode; the placeholder in a content is the prefix that rattler-build builds in.
        scratch: an empty folder.
    """
    script = ["set -eu", "export LC_ALL=C"]
    for at, (path, (content, mode)) in enumerate(files.items()):
        source = scratch / str(at)
        source.write_bytes(content)
        script += [
            f'mkdir -p "$PREFIX/{path.rpartition("/")[0]}"',
            f'sed "s|{PLACEHOLDER}|$PREFIX|g" "{source}" > "$PREFIX/{path}"',
            f'chmod {mode:o} "$PREFIX/{path}"',
        ]
    recipe = {
        "package": {"name": name, "version": "1.0"},
        # As they are: run paths and the like are patchelf's, which need not be here.
        "build": {
            "number": 0,
            "string": "h0_0",
            "dynamic_linking": {"binary_relocation": False},
            "script": script,
        },
        "requirements": {"run": list(depends)},
        "about": {"license": "MIT"},
    }
    (scratch / "recipe").mkdir()
    (scratch / "recipe/recipe.yaml").write_text(json.dumps(recipe))
    command = [sys.executable, "-c", BUILD, str(scratch / "recipe/recipe.yaml"), str(scratch / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tool)})
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = (scratch / "out/linux-64").glob("*.conda")
    (channel / "linux-64").mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(made, channel / "linux-64"))
