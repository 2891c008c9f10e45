"""Runs inside the builder, by the locked interpreter: builds every source archive of the plan; see sdist_wheels.py."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

IN, OUT = Path(os.environ["IN"]), Path(os.environ["OUT"])
TOOLS = Path("/build/tools")
pip = next((IN / "tools").glob("pip-*.whl"))
install = ["install", "-q", "--no-index", "--no-deps", "--no-compile", "--target", TOOLS]
subprocess.run([sys.executable, f"{pip}/pip", *install, *sorted((IN / "tools").glob("*.whl"))], check=True)
plan = json.loads((IN / "plan").read_text())


def build(package):
    """Build one archive; return its exit code and log."""
    folder = Path("/build") / package["name"]
    folder.mkdir()
    env = os.environ | {
        "PYTHONPATH": str(TOOLS),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{TOOLS}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "CFLAGS": "-O2 -g0 -ffile-prefix-map=/build=. -Wno-error=implicit-function-declaration",
        "FFLAGS": "-O2 -g0 -ffile-prefix-map=/build=. -fallow-argument-mismatch",
        "LDFLAGS": "-Wl,--build-id=none -s",
        **package["env"],
    }
    target = OUT / package["name"]
    target.mkdir()
    # An unpacked source at a fixed path: pip's own temporary folder has a random name, which compilers write down.
    source = folder / "source"
    source.mkdir()
    archive = IN / "sdists" / package["file"]
    shutil.unpack_archive(archive, source, **({} if archive.suffix == ".zip" else {"filter": "data"}))
    (top,) = source.iterdir()
    argv = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", target, "."]
    done = subprocess.run(argv, cwd=top, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return {"code": done.returncode, "log": done.stdout[-6000:]}


with ThreadPoolExecutor(plan["jobs"]) as pool:
    results = dict(zip([p["name"] for p in plan["packages"]], pool.map(build, plan["packages"]), strict=True))
(OUT / "report.json").write_text(json.dumps(results))
