"""`run`'s parts with a real podman of its own storage: the folder, its owner, GPUs, what is left.

As root it is podman of root, as an ordinary user the rootless one.
"""

from __future__ import annotations

import os
import platform as machine
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import engine_lists
import pytest

from helioimages.core import entries
from helioimages.core.errors import HelioError
from helioimages.core.platform import Platform
from helioimages.engines import desk, devices, engine, leftovers, registry_server
from helioimages.engines.engine import Engine
from helioimages.machine.store import Store
from helioimages.oci.image import Addition, Settings, append
from helioimages.oci.layer import write_layer
from helioimages.oci.registry import Registry
from helioimages.publish import push

pytestmark = pytest.mark.engine

HERE = Platform.of("linux/arm64" if machine.machine() == "aarch64" else "linux/amd64")
#: Nobody here; files of the folder are theirs, and the container's must be, too.
SOMEBODY = 43210
PROGRAM = r"""
#include <stdio.h>
#include <unistd.h>
int main(int count, char **words) {
    FILE *file = fopen("made", "w");
    if (!file) return 3;
    fclose(file);
    printf("in %s\n", getcwd((char[99]){0}, 99));
    return count > 1 ? 7 : 0;
}
"""
# A machine may forbid podman to raise limits; what is tested does not need them.
SETTINGS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
{runtime}
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Iterator[str]:
    """Return an image of one program, in a registry on loopback."""
    for program in ("gcc", "podman", "docker-registry"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder, store = tmp_path_factory.mktemp("program"), Store(tmp_path_factory.mktemp("store"))
    (folder / "main.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-static", "-O1", "-o", "main", "main.c"], cwd=folder, check=True)
    draft = store.root / "tmp" / "layer"
    program = entries.file("bin/main", (folder / "main").read_bytes(), mode=0o755)
    with open(draft, "wb") as out:
        layer = write_layer(entries.merge([program, entries.file("home/me/x", b"")]), out, jobs=1)
    os.replace(draft, store.blob(layer.digest))
    settings = Settings(cmd=("/bin/main",), user="1000", env={"HOME": "/home/me"})
    added = [Addition(layer=layer, created_by="ADD program /")]
    image = append(None, added, settings, platform=HERE, created_epoch=1_700_000_000)
    # Not the default port: a registry of the user's own may be there.
    server = registry_server.start(store.root, port=5310)
    with Registry(server.host) as client:
        yield push.push_untagged(client, image, "t/podman", store).reference
    registry_server.stop(store.root)


@pytest.fixture(scope="module")
def podman(tmp_path_factory, reference) -> Iterator[Engine]:
    """Return podman's service with storage of its own: the user's images stay untouched."""
    folder = tmp_path_factory.mktemp("podman")
    # A runroot may have 50 characters.
    run = tempfile.mkdtemp(prefix="podman-", dir="/tmp")
    runtime = 'runtime = "runc"' if shutil.which("runc", path="/usr/sbin:/usr/bin") else ""
    (folder / "containers.conf").write_text(SETTINGS.format(runtime=runtime))
    storage = ["--root", str(folder / "root"), "--runroot", run, "--storage-driver", "vfs"]
    address = f"unix://{run}/podman.sock"
    with open(folder / "log", "wb") as log:
        service = subprocess.Popen(
            ["podman", *storage, "system", "service", "--time=0", address],
            env=os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 60
        while (answering := engine._answering(address)) is None:
            assert service.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        answering.pull(reference)
        yield answering
    finally:
        service.terminate()
        service.wait()
        shutil.rmtree(run, ignore_errors=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder of somebody, whom only root can make; else one of ours."""
    with tempfile.TemporaryDirectory(prefix="podman-work-") as name:
        place = Path(name)
        if os.geteuid() == 0:
            os.chown(place, SOMEBODY, SOMEBODY)
        yield place


def test_it_is_known_for_what_it_is(podman):
    assert podman.kind().startswith("podman ")
    assert desk.is_rootless(podman.client.info()) == (os.geteuid() != 0)


@pytest.mark.parametrize(("words", "code"), [([], 0), (["fail"], 7)])
def test_what_is_written_in_the_folder_is_its_owners(podman, reference, folder, capfd, words, code):
    work = desk.desk(podman, reference, folder)
    assert work.place == "/home/me/work"
    assert desk.command(podman, work, ["/bin/main", *words], None) == code
    assert capfd.readouterr().err == "in /home/me/work\n"
    assert (folder / "made").stat().st_uid == folder.stat().st_uid


def test_a_shell_is_its_own_clients(podman, reference, folder):
    """There is no shell in the image, so the client ends with what it ends where a program is not there."""
    assert desk.shell(podman, desk.desk(podman, reference, folder), None) == 127


def test_containers_that_ended_are_tidied_and_none_that_works(podman, reference):
    made = podman.client.containers.create(reference, labels=leftovers.SERVED)
    assert leftovers.served(podman.client, ended=True) == 0
    made.start()
    made.wait()
    assert leftovers.served(podman.client, ended=True) == 1
    assert engine_lists.containers(podman.client) == []


def test_a_gpu_is_given_or_refused_never_left_out_without_a_word(podman, reference, folder):
    """Newer ones than Debian 12's take the request, and refuse the container where no such device is described."""
    if devices.present(podman.client, podman.address):
        pytest.skip("this machine has a GPU")
    with pytest.raises(HelioError, match=r"gives no GPU through its API|has no GPU to give|cannot make a container"):
        desk.command(podman, desk.desk(podman, reference, folder), ["/bin/main"], "all")
    assert list(folder.iterdir()) == []
    assert engine_lists.containers(podman.client) == []
