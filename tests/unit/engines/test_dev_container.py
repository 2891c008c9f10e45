"""devcontainer.json of images that say more or less of themselves; that it starts is tested with the real command."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from helioimages.engines import dev_container
from helioimages.oci.types import ImageConfig, Platform

OURS = ImageConfig(
    platform=Platform.of("linux/amd64"),
    diff_ids=(),
    user="1000",
    env=("NB_USER=jovyan", "NB_PYTHON_PREFIX=/srv/conda/envs/notebook"),
    exposed_ports=("8888/tcp",),
)


def made(config):
    return json.loads(dev_container.text("base", "host/base:1", config))


def test_an_image_of_these():
    assert made(OURS) == {
        "name": "base",
        "image": "host/base:1",
        "remoteUser": "jovyan",
        "updateRemoteUserUID": True,
        "forwardPorts": [8888],
        "customizations": {
            "vscode": {
                "extensions": ["ms-python.python", "ms-toolsai.jupyter"],
                "settings": {"python.defaultInterpreterPath": "/srv/conda/envs/notebook/bin/python"},
            }
        },
    }


def test_with_cuda_a_gpu_is_used_where_there_is_one():
    config = replace(OURS, labels={"io.helioimages.cuda": "13.0"})
    assert made(config)["hostRequirements"] == {"gpu": "optional"}


@pytest.mark.parametrize(("user", "who"), [("", "root"), ("me", "me"), ("1000:100", "1000")])
def test_an_image_that_says_nothing_of_itself(user, who):
    document = made(replace(OURS, env=(), exposed_ports=(), user=user))
    assert (document["remoteUser"], document["forwardPorts"]) == (who, [])
    assert "settings" not in document["customizations"]["vscode"]
