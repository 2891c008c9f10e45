"""A dev container of an image: what VS Code, Codespaces and the command `devcontainer` start for a folder. Pure.

Spec: containers.dev, "Dev Container metadata reference".
"""

from __future__ import annotations

import json
from typing import Any

from ..oci.types import ImageConfig

#: Where those programs look for it, in the folder.
FILE = ".devcontainer/devcontainer.json"
_EXTENSIONS = ("ms-python.python", "ms-toolsai.jupyter")
#: A label of images with CUDA.
_CUDA = "io.helioimages.cuda"


def text(name: str, reference: str, config: ImageConfig) -> str:
    """Return devcontainer.json.

    Args:
        name: for people.
        reference: of the image, as an engine is told it.
        config: of the image: its user, Python and ports.
    """
    variables = dict(line.partition("=")[::2] for line in config.env)
    prefix = variables.get("NB_PYTHON_PREFIX")
    vscode: dict[str, Any] = {"extensions": list(_EXTENSIONS)}
    if prefix:
        vscode["settings"] = {"python.defaultInterpreterPath": f"{prefix}/bin/python"}
    document: dict[str, Any] = {
        "name": name,
        "image": reference,
        # The editor's files are its user's here, too: the account in the container gets their number.
        "remoteUser": variables.get("NB_USER") or config.user.partition(":")[0] or "root",
        "updateRemoteUserUID": True,
        "forwardPorts": [int(port.partition("/")[0]) for port in config.exposed_ports],
        "customizations": {"vscode": vscode},
    }
    if _CUDA in config.labels:
        document["hostRequirements"] = {"gpu": "optional"}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
