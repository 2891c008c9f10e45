from __future__ import annotations

import asyncio
import dataclasses
import datetime
import re
import types
from pathlib import Path

import pytest
import traitlets.config
import yaml
from catalogue_support import catalogue, digest, entry, page, tag_of

from helioimages.catalogue import profiles
from helioimages.catalogue.model import Smoke, document
from helioimages.core.errors import HelioError
from helioimages.spec.image import ImageSpec, parse_image
from helioimages.spec.yanks import Yank

REPOSITORY = "registry.example:5000/org/helio"


def image(name: str, hub: str = "", parent: str = "") -> ImageSpec:
    text = f'name = "{name}"\ntitle = "{name} title"\ndescription = "d"\nenvironment = "{name}"\n'
    text += f'parent = "{parent}"\n' if parent else ""
    return parse_image(f"{text}[hub]\n{hub}", Path("x"), f"images/{name}/image.toml")


def yank(day: int, level: str = "yanked") -> Yank:
    return Yank(image="helio", reason="it burns", date=datetime.date(2026, 6, 1), tag=tag_of(day), level=level)


def whole(*entries) -> dict:
    return document(catalogue(page("helio", *entries)))


def keys(offered) -> list[str]:
    return [offer.key for offer in offered]


def test_with_a_key_only_what_it_signed_is_offered():
    states = ("none", "attached", "verified", "bad")
    whole_catalogue = whole(*(entry(day=day, signature=state) for day, state in enumerate(states)))
    assert keys(profiles.offers(whole_catalogue, {})) == ["helio-2026-05-07", "helio-2026-05-06"]
    assert keys(profiles.offers(whole_catalogue, {}, signed=True)) == ["helio-2026-05-07"]
    with pytest.raises(HelioError) as caught:
        profiles.offers(whole(entry()), {}, signed=True)
    assert caught.value.detail == (
        "every dated tag is yanked, failed its notebooks, is not signed with the key, or is not there"
    )


def test_the_newest_tags_are_offered_by_tag_and_digest():
    offered = profiles.offers(whole(*(entry(day=day) for day in range(5))), {})
    assert offered == (
        profiles.Offer(
            image="helio",
            key="helio-2026-05-09",
            title="The helio image 2026.05.09 (Python 3.13, 120 MB)",
            reference=f"{REPOSITORY}:2026.05.09@{digest('helio 4')}",
            plain=f"{REPOSITORY}:2026.05.09",
            gpu=False,
            sizes=("small", "medium", "large"),
            facts="Python 3.13, 120 MB",
        ),
        profiles.Offer(
            image="helio",
            key="helio-2026-05-08",
            title="The helio image 2026.05.08 (Python 3.13, 120 MB)",
            reference=f"{REPOSITORY}:2026.05.08@{digest('helio 3')}",
            plain=f"{REPOSITORY}:2026.05.08",
            gpu=False,
            sizes=("small", "medium", "large"),
            facts="Python 3.13, 120 MB",
        ),
    )
    assert [offer.build for offer in offered] == ["The helio image 2026.05.09", "The helio image 2026.05.08"]


def test_what_is_yanked_or_failed_is_never_offered():
    failed = Smoke(passed=False, notebooks=())
    whole_catalogue = whole(
        entry(day=3, advisory=yank(3)),
        entry(day=2, smoke=failed),
        entry(day=1, advisory=yank(1, "advisory")),
        entry(day=0, signature="bad"),
    )
    (offer,) = profiles.offers(whole_catalogue, {})
    assert (offer.key, offer.title) == (
        "helio-2026-05-06",
        "The helio image 2026.05.06 (Python 3.13, 120 MB, advisory: it burns)",
    )


def test_a_platform_that_is_yanked_takes_its_index_with_it():
    index = digest("index")
    whole_catalogue = whole(
        entry(day=1, named=index), entry(day=1, named=index, digest=digest("arm"), advisory=yank(1)), entry()
    )
    assert keys(profiles.offers(whole_catalogue, {})) == ["helio-2026-05-05"]


def test_nothing_left():
    with pytest.raises(HelioError) as caught:
        profiles.offers(whole(entry(advisory=yank(0))), {})
    assert str(caught.value) == (
        "no image is left to offer\n  every dated tag is yanked, failed its notebooks, or is not there\n\n"
        "hint: publish a new one: `buildimages publish`"
    )


def test_the_hub_section_decides():
    hub = 'slug = "pyhc"\ntitle = "PyHC"\ntags = 1\nsizes = ["huge"]\ndefault = true\n'
    hub += '[hub.resources.huge]\ntitle = "Huge"\nmemory-guarantee = "64G"\nmemory-limit = "128G"\n'
    hub += (
        'cpu-guarantee = 8\ncpu-limit = 16.5\nnode-selector = { pool = "big" }\ntolerations = ["big=yes:NoExecute"]\n'
    )
    images = {"helio": image("helio", hub)}
    offered = profiles.offers(whole(entry(), entry(day=1)), images)
    assert (keys(offered), offered[0].sizes, offered[0].default) == (["pyhc-2026-05-06"], ("huge",), True)
    (made,) = profiles.profile_list(offered, images)
    assert made["profile_options"]["resources"]["choices"] == {
        "huge": {
            "display_name": "Huge: 128 GB memory, up to 16.5 CPUs",
            "default": True,
            "kubespawner_override": {
                "mem_guarantee": "64G",
                "mem_limit": "128G",
                "cpu_guarantee": 8.0,
                "cpu_limit": 16.5,
                "node_selector": {"pool": "big"},
                "tolerations": [{"key": "big", "operator": "Equal", "value": "yes", "effect": "NoExecute"}],
            },
        }
    }
    assert "unlisted_choice" not in made["profile_options"]["image"]


def test_a_child_may_name_its_parents_resources():
    own = '[hub.resources.mine]\ntitle = "Mine"\nmemory-guarantee = "1G"\nmemory-limit = "1G"\n'
    own += "cpu-guarantee = 1\ncpu-limit = 1\n"
    images = {"base": image("base", own), "helio": image("helio", 'sizes = ["mine"]\n', parent="base")}
    (made,) = profiles.profile_list(profiles.offers(whole(entry()), images), images)
    assert list(made["profile_options"]["resources"]["choices"]) == ["mine"]


def test_resources_that_nobody_defines():
    images = {"helio": image("helio", 'sizes = ["vast"]\n')}
    with pytest.raises(HelioError) as caught:
        profiles.profile_list(profiles.offers(whole(entry()), images), images)
    assert str(caught.value) == (
        "there are no resources `vast`\n  in images/helio/image.toml at hub.sizes\n"
        "  expected some of: small, medium, large, gpu"
    )


def test_two_defaults():
    images = {name: image(name, "default = true\n") for name in ("base", "helio")}
    with pytest.raises(HelioError, match="two images are the default") as caught:
        profiles.offers(whole(entry()), images)
    assert caught.value.where == "images/helio/image.toml at hub.default"


def test_an_image_that_hubs_do_not_offer():
    whole_catalogue = document(catalogue(page("base", entry("base")), page("helio", entry())))
    assert keys(profiles.offers(whole_catalogue, {"base": image("base", "offer = false\n")})) == ["helio-2026-05-05"]


UNLISTED = profiles.unlisted_images([REPOSITORY, "registry.example:5000/org/base"])


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        (f"{REPOSITORY}:2026.05.05", True),
        (f"{REPOSITORY}@{digest('x')}", True),
        (f"{REPOSITORY}:2026.05.05@{digest('x')}", True),
        ("registry.example:5000/org/base:2026.05.06", True),
        (REPOSITORY, False),
        (f"{REPOSITORY}:2026.05.06", False),
        (f"{REPOSITORY}:2026.05.06@{digest('x')}", False),
        (f"{REPOSITORY}:latest@{digest('helio 1')}", False),
        (f"{REPOSITORY}@{digest('helio 1')}", False),
        (f"evil.example/{REPOSITORY}:2026.05.05", False),
        (f"{REPOSITORY}:2026.05.05 --privileged", False),
        ("registryXexample:5000/org/base:2026.05.06", False),
    ],
)
def test_what_users_may_type(text, allowed):
    whole_catalogue = whole(entry(day=1, advisory=yank(1)), entry())
    (made,) = profiles.profile_list(
        profiles.offers(whole_catalogue, {}), {}, unlisted=UNLISTED, gone=profiles.gone(whole_catalogue)
    )
    choice = made["profile_options"]["image"]["unlisted_choice"]
    # As KubeSpawner asks.
    assert bool(re.match(choice["validation_regex"], text)) is allowed


GPU = {"facts": {"python": "3.13.5", "cuda": "13.0"}}


def both() -> tuple[list[dict], dict]:
    whole_catalogue = document(catalogue(page("helio", entry(), entry(day=1)), page("ml-gpu", entry("ml-gpu", **GPU))))
    return profiles.profile_list(profiles.offers(whole_catalogue, {}), {}, unlisted=UNLISTED), whole_catalogue


@pytest.fixture
def spawner(monkeypatch):
    """Return a KubeSpawner of the package, as a hub has it, but for the cluster; and the pod it would make."""
    kubespawner = pytest.importorskip("kubespawner", reason="jupyterhub-kubespawner is not installed (extra `test`)")
    for name in ("load_config", "shared_client"):
        monkeypatch.setattr(f"kubespawner.spawner.{name}", lambda *_names, **_options: None)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def make(options: dict):
        made = kubespawner.KubeSpawner(_mock=True, profile_list=both()[0])
        made.user_options = options
        loop.run_until_complete(made.load_user_options())
        return made, loop.run_until_complete(made.get_pod_manifest())

    yield make
    asyncio.set_event_loop(None)
    loop.close()


def test_kubespawner_takes_the_default(spawner):
    made, pod = spawner({})
    assert made.image == f"{REPOSITORY}:2026.05.06@{digest('helio 1')}"
    (container,) = pod.spec.containers
    assert container.image == made.image
    assert container.resources.limits == {"memory": 4 << 30, "cpu": 2.0}
    assert container.resources.requests == {"memory": 4 << 30, "cpu": 0.5}


def test_kubespawner_makes_a_gpu_pod(spawner):
    _, pod = spawner({"profile": "gpu", "image": "ml-gpu-2026-05-05", "resources": "gpu"})
    (container,) = pod.spec.containers
    assert container.image == f"registry.example:5000/org/ml-gpu:2026.05.05@{digest('ml-gpu 0')}"
    assert container.resources.limits == {"memory": 14 << 30, "cpu": 4.0, "nvidia.com/gpu": "1"}
    assert pod.spec.node_selector == {"nvidia.com/gpu.present": "true"}
    tolerations = [(toleration.key, toleration.operator, toleration.effect) for toleration in pod.spec.tolerations]
    assert ("nvidia.com/gpu", "Exists", "NoSchedule") in tolerations


def test_kubespawner_checks_what_users_type(spawner):
    made, _ = spawner({"profile": "cpu", "image--unlisted-choice": f"{REPOSITORY}:2026.05.05"})
    assert made.image == f"{REPOSITORY}:2026.05.05"
    with pytest.raises(ValueError, match="Received unlisted_choice for image that failed validation regex"):
        spawner({"profile": "cpu", "image--unlisted-choice": "docker.io/miner:1"})
    with pytest.raises(ValueError, match="No such profile: root"):
        spawner({"profile": "root"})


def test_kubespawner_draws_the_form(spawner):
    made, _ = spawner({})
    form = made.options_form
    for text in ("The helio image 2026.05.06", "Small: 4 GB memory, up to 2 CPUs", "GPU: 14 GB memory"):
        assert text in form


def test_z2jh_yaml_reads_back_and_is_the_same_each_time():
    made, _ = both()
    text = profiles.as_z2jh(made)
    assert text == profiles.as_z2jh(both()[0])
    assert text.startswith(profiles.HEADER)
    assert yaml.safe_load(text) == {"singleuser": {"profileList": made}}
    assert "&id" not in text, "no YAML aliases: people edit and diff this"
    # The chart's values.schema.yaml wants an array and no more: "simply a passthrough" to KubeSpawner.
    assert isinstance(yaml.safe_load(text)["singleuser"]["profileList"], list)
    assert [profile["slug"] for profile in made] == ["cpu", "gpu"]
    assert [profile["default"] for profile in made] == [True, False]


def test_dockerspawner():
    dockerspawner = pytest.importorskip("dockerspawner", reason="dockerspawner is not installed (extra `test`)")
    images = {"helio": image("helio"), "ml-gpu": image("ml-gpu", "default = true\n")}
    offered = profiles.offers(both()[1], images)
    config = traitlets.config.Config()
    exec(profiles.as_dockerspawner(offered), {"c": config})
    spawner = dockerspawner.DockerSpawner(config=config, user=types.SimpleNamespace(name="ada"))
    first = "The ml-gpu image 2026.05.05 (Python 3.13, CUDA 13.0, 120 MB)"
    assert next(iter(spawner.allowed_images)) == first
    assert asyncio.run(spawner.check_allowed(first)) == spawner.image == "registry.example:5000/org/ml-gpu:2026.05.05"
    assert sorted(spawner.allowed_images.values()) == sorted(offer.plain for offer in offered)
    assert spawner.options_form.index(first) < spawner.options_form.index("The helio image")


def test_dask_gateway():
    options = pytest.importorskip("dask_gateway_server.options", reason="dask-gateway-server is not installed")
    offered = profiles.offers(both()[1], {})
    values = yaml.safe_load(profiles.as_gateway(offered))
    code = values["dask-gateway"]["gateway"]["extraConfig"]["helioimages"]

    config = traitlets.config.Config()
    exec(code, {"c": config})
    made = config.Backend.cluster_options
    # Distributed has no programs dask-scheduler and dask-worker any more, which are the gateway's defaults.
    assert (config.ClusterConfig.scheduler_cmd, config.ClusterConfig.worker_cmd) == (
        ["dask", "scheduler"],
        ["dask", "worker"],
    )
    assert isinstance(made, options.Options)
    parsed = made.parse_options({"image": offered[1].reference})
    assert made.get_configuration(parsed, None) == {"image": offered[1].reference}
    with pytest.raises(ValueError):
        made.parse_options({"image": "evil"})


def size(more: str = "", *, memory: str = "8G", cpu: str = "1") -> str:
    return (
        f'[hub.resources.x]\ntitle = "X"\nmemory-guarantee = "{memory}"\nmemory-limit = "8G"\n'
        f"cpu-guarantee = {cpu}\ncpu-limit = 2\n{more}\n"
    )


@pytest.mark.parametrize(
    ("hub", "where", "detail"),
    [
        ("slugg = 1", "hub.slugg", "this key is not understood"),
        ('slug = "A"', "hub.slug", "expected lower-case letters, digits and dashes (at most 40), not 'A'"),
        ("tags = 0", "hub.tags", "expected a number from 1 to 50, not 0"),
        ("default = 1", "hub.default", "expected true or false, not a whole number: 1"),
        (size(memory="8 GB"), "hub.resources.x.memory-guarantee", "expected a size such as 8G or 1.5T, not '8 GB'"),
        (size(memory="9G"), "hub.resources.x.memory-guarantee", "expected at most the limit 8G, not 9G"),
        (size(cpu="3"), "hub.resources.x.cpu-guarantee", "expected more than 0 and at most the limit 2, not 3"),
        (size(cpu="true"), "hub.resources.x.cpu-guarantee", "expected a number, not true or false: True"),
        (size("gpus = -1"), "hub.resources.x.gpus", "expected 0 or more, not -1"),
        (
            size('tolerations = ["a=b=c"]'),
            "hub.resources.x.tolerations[0]",
            "expected key[=value][:effect], not 'a=b=c'",
        ),
        (
            size().replace(".x]", ".X]"),
            "hub.resources.X",
            "expected lower-case letters, digits and dashes (at most 40), not 'X'",
        ),
    ],
)
def test_a_wrong_hub_section_names_the_key(hub, where, detail):
    with pytest.raises(HelioError) as caught:
        image("helio", hub)
    assert (caught.value.where, caught.value.detail) == (f"images/helio/image.toml at {where}", detail)


def test_offers_are_values():
    (offer,) = profiles.offers(whole(entry()), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        offer.key = "x"
