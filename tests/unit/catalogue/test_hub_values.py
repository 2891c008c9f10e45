"""Which images a hub's values offer: in every form that the charts take, and none of the hub's own programs."""

from __future__ import annotations

import pytest
from catalogue_support import catalogue, entry, page

from helioimages.catalogue import hub_values, profiles
from helioimages.catalogue.hub_values import OfferedImage
from helioimages.catalogue.model import document
from helioimages.core.errors import HelioError, Stage

Z2JH = """\
hub:
  image: {name: quay.io/jupyterhub/k8s-hub, tag: "4.2.0"}
singleuser:
  image:
    name: ghcr.io/heliocloud/base
    tag: 2026.11.19
  networkTools: {image: {name: quay.io/jupyterhub/k8s-network-tools, tag: "4.2.0"}}
  profileList:
    - display_name: Helio
      kubespawner_override: {image: "ghcr.io/heliocloud/helio:2026.11.19"}
    - display_name: Choose
      profile_options:
        image:
          choices:
            a: {kubespawner_override: {image: "ghcr.io/heliocloud/ml-gpu@sha256:1"}}
            b: {kubespawner_override: {mem_limit: 8G}}
prePuller: {pause: {image: {name: registry.k8s.io/pause, tag: "3.10"}}}
"""


def test_every_place_of_zero_to_jupyterhub():
    assert hub_values.images(Z2JH.encode(), "values.yaml") == (
        OfferedImage(where="singleuser.image", reference="ghcr.io/heliocloud/base:2026.11.19"),
        OfferedImage(
            where="singleuser.profileList[0].kubespawner_override.image",
            reference="ghcr.io/heliocloud/helio:2026.11.19",
        ),
        OfferedImage(
            where="singleuser.profileList[1].profile_options.image.choices.a.kubespawner_override.image",
            reference="ghcr.io/heliocloud/ml-gpu@sha256:1",
        ),
    )


def test_daskhub_has_them_a_level_lower_and_its_gateway_too():
    text = "jupyterhub:\n" + "".join(f"  {line}\n" for line in Z2JH.splitlines())
    text += "dask-gateway:\n  gateway:\n    image: {name: x/gateway, tag: '1'}\n"
    text += "    backend: {image: {name: pangeo/base-notebook, tag: latest}}\n"
    images = hub_values.images(text.encode(), "x")
    assert [image.where.partition(".")[0] for image in images] == ["jupyterhub"] * 3 + ["dask-gateway"]
    assert images[-1].reference == "pangeo/base-notebook:latest"


@pytest.mark.parametrize("text", ["", "a: 1\n", "- 1\n", "singleuser: {image: {name: null}}\n", "singleuser: []\n"])
def test_files_that_offer_nothing(text):
    assert hub_values.images(text.encode(), "x") == ()


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"a: [1\n", "values.yaml:2:1"),
        # Of public repositories of hubs: a template, a file that git-crypt encrypted, and one with a byte of Latin-1.
        (b"a: 1\n{% if x %}\nb: 2\n", "values.yaml:2:2"),
        (b"\0GITCRYPT\0\xe5\x10", "values.yaml"),
        (b"a: caf\xe9\n", "values.yaml"),
    ],
)
def test_what_is_not_yaml(data, where):
    with pytest.raises(HelioError) as caught:
        hub_values.images(data, "values.yaml")
    assert (caught.value.stage, caught.value.message) == (Stage.USAGE, "cannot read `values.yaml`")
    assert caught.value.where == where
    assert "unicode string" not in caught.value.detail and "sops" in caught.value.hint


def test_a_byte_order_mark_is_not_part_of_a_key():
    assert len(hub_values.images("\ufeffsingleuser: {image: a/b:1}\n".encode(), "x")) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        ("localhost:5000/b:1", "localhost:5000/b:1"),
        ("pangeo/pangeo-notebook:1", "docker.io/pangeo/pangeo-notebook:1"),
        ("python:3", "docker.io/library/python:3"),
        ("ghcr.io/a/B!:1", "None"),
    ],
)
def test_names_are_read_as_docker_reads_them(text, told):
    assert str(hub_values.parsed(text)) == told


HELIOCLOUD = """\
daskhub:
  jupyterhub:
    singleuser:
      initContainers: [{name: fix, image: "alpine:3"}]
      image: {name: public.ecr.aws/x/helio, tag: "2026.11.1"}
      extraEnv:
        DASK_GATEWAY__CLUSTER__OPTIONS__IMAGE: "public.ecr.aws/x/helio:2026.10.1"
    hub:
      extraConfig:
        profiles: |
          c.KubeSpawner.image = "ghcr.io/x/base:1"
          c.KubeSpawner.profile_list = [{"kubespawner_override": {"image": "ghcr.io/x/ml:1", "cpu_limit": 4}}]
          c.KubeSpawner.init_containers = [{"name": "fix", "image": "alpine:3", "command": ["sh"]}]
          print("see http://docs.example.org:80/a:b")
        broken: |
          if this is no Python
  dask-gateway:
    gateway:
      extraConfig:
        optionHandler: |
          from dask_gateway_server.options import Options, Select, String
          images = ["ghcr.io/x/base:2", "ghcr.io/x/helio@sha256:%s"]
          c.Backend.cluster_options = Options(
              Select("image", images, default="ghcr.io/x/base:2"),
              String("profile", default="a/b:c"),
          )
""" % ("0" * 64)


def test_images_of_clusters_and_those_that_code_names():
    images = {image.where: [] for image in hub_values.images(HELIOCLOUD.encode(), "x")}
    for image in hub_values.images(HELIOCLOUD.encode(), "x"):
        images[image.where].append(image.reference)
    assert images == {
        "daskhub.jupyterhub.singleuser.image": ["public.ecr.aws/x/helio:2026.11.1"],
        "daskhub.jupyterhub.singleuser.extraEnv.DASK_GATEWAY__CLUSTER__OPTIONS__IMAGE": [
            "public.ecr.aws/x/helio:2026.10.1"
        ],
        "daskhub.jupyterhub.hub.extraConfig.profiles": ["ghcr.io/x/base:1", "ghcr.io/x/ml:1"],
        "daskhub.dask-gateway.gateway.extraConfig.optionHandler": [
            "ghcr.io/x/base:2",
            f"ghcr.io/x/helio@sha256:{'0' * 64}",
        ],
    }


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ("{DASK_GATEWAY__CLUSTER__OPTIONS__IMAGE: '{JUPYTER_IMAGE_SPEC}'}", []),
        ("[{name: DASK_GATEWAY__CLUSTER__OPTIONS__IMAGE, value: 'a/b:1'}, {name: OTHER, value: 'c/d:1'}]", ["a/b:1"]),
    ],
)
def test_a_cluster_with_the_notebooks_image_names_none(env, told):
    text = f"singleuser: {{extraEnv: {env}}}\n"
    assert [image.reference for image in hub_values.images(text.encode(), "x")] == told


def test_what_profiles_writes_for_the_gateway_is_read_back():
    offered = profiles.offers(document(catalogue(page("helio", entry()), page("base", entry("base")))), {})
    text = profiles.as_gateway(offered)
    assert [image.reference for image in hub_values.images(text.encode(), "x")] == [
        offer.reference for offer in offered
    ]
