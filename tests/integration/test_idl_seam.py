"""The seam for licensed IDL, with a folder that looks like IDL and runs GDL; and MPI in a small /dev/shm."""

from __future__ import annotations

from pathlib import Path

import pytest

from helioimages.engines.engine import RunOptions

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]
NAME = "idl-fortran"
PLACE = "/usr/local/idl"
LICENCE = {"LM_LICENSE_FILE": "1700@licence.example.org"}
NO_IDL = """\
error: licensed IDL is not mounted: there is no {place}/bin/idl

hint: mount an IDL installation there (docker run -v /path/of/idl:/usr/local/idl:ro), or set IDL_DIR to its
folder, and name its licence server in LM_LICENSE_FILE=port@host; `gdl` runs IDL's language without a licence
"""
NO_LICENCE = """\
error: IDL at {place} has no licence: LM_LICENSE_FILE is not set

hint: set LM_LICENSE_FILE=port@host to the licence server; `gdl` runs IDL's language without a licence
"""
PROGRAM = """#!/bin/sh
if [ "$1" = -quiet ]; then shift; fi
echo "IDL with ${LM_LICENSE_FILE:-a file}" >&2
exec gdl -q "$@"
"""
HISSW = """
import hissw
print(hissw.Environment(idl_only=True).run("x = total(findgen(11))", save_vars=["x"], verbose=False)["x"])
"""
KERNEL = """
import sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="idl")
said = []
reply = client.execute_interactive("print, 6 * 7", output_hook=lambda one: said.append(one["content"].get("text", "")))
print(reply["content"]["status"], " ".join("".join(said).split()))
manager.shutdown_kernel(now=True)
"""


@pytest.fixture(scope="module")
def reference(workspace) -> str:
    """Return the image's reference; skip where neither the store nor the engine has what is long to make."""
    lock = workspace.checkout.locks_of((NAME,))[NAME]
    missing = [deb for deb in lock.apt.packages if not workspace.store.artefact(deb.sha256).exists()]
    if missing:
        pytest.skip(f"{NAME} was not built in this store: {len(missing)} of its Debian packages are not here")
    built = workspace.build((NAME,))[NAME]
    with workspace.registry(None) as client:
        pushed = workspace.push(client, built, "").reference
    workspace.engine.pull(pushed)
    return pushed


@pytest.fixture(scope="module")
def idl(tmp_path_factory) -> Path:
    """Return a folder that is laid out like IDL: its program runs GDL and says with which licence."""
    tree = tmp_path_factory.mktemp("idl")
    for folder in ("bin/bin.linux.x86_64", "lib/bridges"):
        (tree / folder).mkdir(parents=True)
    program = tree / "bin" / "idl"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (tree / "lib" / "bridges" / "idlpy.py").write_text("WHERE = __file__\n")
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755)
    return tree


@pytest.fixture
def run(workspace, reference, idl):
    """Run a command in the image as a person would; return its status and what it said."""

    def ask(*argv: str, mounted: bool = True, at: str = PLACE, **options):
        mounts = {at: (idl, "ro")} if mounted else {}
        tmpfs = {"/home/jovyan": "rw,exec,uid=1000,gid=1000,mode=0755"}
        given = RunOptions(user="1000", mounts=mounts, tmpfs=tmpfs, **options)
        return workspace.engine.run(reference, list(argv), given)

    return ask


def test_without_idl_its_command_says_what_to_mount(run):
    result = run("idl", mounted=False)
    assert (result.exit_code, result.log) == (1, NO_IDL.format(place=PLACE))


def test_a_wrong_idl_dir_is_named(run):
    result = run("with-idl", "true", env={"IDL_DIR": "/opt/idl"})
    assert (result.exit_code, result.log) == (1, NO_IDL.format(place="/opt/idl"))


def test_without_a_licence_the_variable_is_named_at_the_start_and_by_the_command(run):
    result = run("idl", "-quiet")
    assert (result.exit_code, result.log) == (1, 2 * NO_LICENCE.format(place=PLACE))


def test_the_image_starts_without_idl_and_says_nothing(run):
    result = run("sh", "-c", 'echo "${IDL_DIR:-unset}"; ls -A ~/.hissw 2>&1', mounted=False)
    assert result.log == "unset\nls: cannot access '/home/jovyan/.hissw': No such file or directory\n"


def test_idl_starts_with_its_arguments_and_the_licence(run):
    result = run("sh", "-c", "echo 'print, 2 + 2' | idl -quiet", env=LICENCE)
    assert (result.exit_code, result.log) == (0, "IDL with 1700@licence.example.org\n       4\n")


def test_a_licence_folder_in_the_tree_will_do(run, idl):
    (idl / "license").mkdir()
    (idl / "license" / "license.dat").write_text("FEATURE idl\n")
    try:
        assert run("idl", "-quiet").log == "IDL with a file\n"
    finally:
        (idl / "license" / "license.dat").unlink()
        (idl / "license").rmdir()


def test_hissw_finds_idl(run):
    result = run("python", "-c", HISSW, env=LICENCE)
    assert (result.exit_code, result.log) == (0, "55.0\n")


def test_hissw_finds_idl_elsewhere(run):
    script = "cat ~/.hissw/hisswrc; python -c 'import hissw; print(hissw.Environment(idl_only=True).executable)'"
    result = run("sh", "-c", script, at="/opt/idl91", env=LICENCE | {"IDL_DIR": "/opt/idl91", "SSW": "/opt/ssw"})
    assert result.log.splitlines() == [
        "# written by /srv/start.d/idl.sh; delete this line to keep your own changes",
        "[hissw]",
        "idl_home = /opt/idl91",
        "ssw_home = /opt/ssw",
        "/opt/idl91/bin/idl",
    ]


def test_a_person_s_own_hisswrc_stays(run):
    script = "printf '[hissw]\\nidl_home = /mine\\n' > ~/.hissw/hisswrc; /srv/start cat ~/.hissw/hisswrc"
    assert run("sh", "-c", script, env=LICENCE).log == "[hissw]\nidl_home = /mine\n"


def test_the_bridge_is_found(run):
    result = run("python", "-c", "import idlpy; print(idlpy.WHERE)", env=LICENCE)
    assert (result.exit_code, result.log) == (0, f"{PLACE}/lib/bridges/idlpy.py\n")


def test_with_idl_gives_its_libraries_to_one_command(run):
    result = run("sh", "-c", 'echo "[$LD_LIBRARY_PATH]"; with-idl sh -c \'echo "[$LD_LIBRARY_PATH]"\'', env=LICENCE)
    assert result.log == f"[]\n[{PLACE}/bin/bin.linux.x86_64]\n"


def test_the_kernel_runs_idl(run):
    result = run("python", "-W", "ignore", "-c", KERNEL, env=LICENCE)
    assert result.log.splitlines()[-1] == "ok 42"


def test_the_kernel_without_a_licence_names_the_variable(run):
    result = run("python", "-W", "ignore", "-c", KERNEL)
    assert result.log.splitlines()[-1].startswith(
        f"error error: IDL at {PLACE} has no licence: LM_LICENSE_FILE is not set hint: set LM_LICENSE_FILE=port@host"
    )


def test_mpi_in_the_shared_memory_that_hubs_give(run):
    """Kubernetes and Docker give 64 MiB of /dev/shm; two ranks exchange 128 MB through it."""
    script = """python -c "
from pathlib import Path; Path('/tmp/swap.py').write_text('''
import numpy as np
from mpi4py import MPI
w = MPI.COMM_WORLD
got = np.empty(16_000_000)
w.Sendrecv(np.full(16_000_000, w.rank + 1.0), 1 - w.rank, recvbuf=got, source=1 - w.rank)
print(w.allreduce(float(got.sum())))
''')"
    mpirun -n 2 python /tmp/swap.py | sort -u; df --output=size -m /dev/shm | tail -1"""
    result = run("sh", "-c", script, mounted=False, network="none")
    assert (result.exit_code, result.log.split()) == (0, ["48000000.0", "64"])
