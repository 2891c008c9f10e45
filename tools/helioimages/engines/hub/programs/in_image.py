"""Run one command of Dask Gateway in a container of an image, for as long as this process lives.

Usage: in_image.py ENGINE LABELS CERTIFICATES THERE IMAGE COMMAND…

The container has the host's network, the variables of this process that are Dask's, and the folder CERTIFICATES as
THERE, owned by the image's user, since this process's user may be another one.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tarfile
from pathlib import Path

import docker
import docker.errors


def main(engine: str, labels: str, certificates: str, there: str, image: str, *command: str) -> int:
    """Run the command and return its exit code; the container is gone then, whatever happened."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    client = docker.DockerClient(base_url=engine)
    repository, _, digest = image.partition("@")
    login = json.loads(os.environ.get("HELIOIMAGES_HUB_LOGINS") or "{}").get(repository)
    try:
        pulled = client.images.get(image)
    except docker.errors.ImageNotFound:
        for row in client.api.pull(repository, tag=digest or None, stream=True, decode=True, auth_config=login):
            if "error" in row:
                sys.exit(f"cannot pull {image}: {row['error']}")
        pulled = client.images.get(image)
    container = client.containers.create(
        pulled.id,
        list(command),
        environment={name: value for name, value in os.environ.items() if name.startswith("DASK_")},
        network_mode="host",
        labels=json.loads(labels),
        security_opt=["no-new-privileges"],
    )
    try:
        user = pulled.attrs["Config"]["User"].partition(":")[0]
        container.put_archive("/", archive(Path(certificates), there, int(user or 0)))
        container.start()
        for chunk in container.logs(stream=True, follow=True):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        return container.wait()["StatusCode"]
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        container.remove(force=True)
        client.close()


def archive(folder: Path, there: str, uid: int) -> bytes:
    """Return a tar of a folder's files under another name, owned by a user and readable by nobody else."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        top = tarfile.TarInfo(there.lstrip("/"))
        top.type, top.mode, top.uid = tarfile.DIRTYPE, 0o700, uid
        tar.addfile(top)
        for path in sorted(folder.iterdir()):
            data = path.read_bytes()
            member = tarfile.TarInfo(f"{top.name}/{path.name}")
            member.size, member.mode, member.uid = len(data), 0o600, uid
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
