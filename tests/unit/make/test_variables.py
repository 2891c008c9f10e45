"""What an image's variables say of its own lock, in the config and in the Dockerfile, and what is inherited."""

from __future__ import annotations

import dataclasses

import pytest
from building_support import workshops

from helioimages.make import render

FIELDS = {"IMAGE": "{image}", "OF": "{image} of {version}, {lock}", "PLAIN": "1"}


@pytest.fixture
def site(tmp_path, make_wheel):
    return workshops(tmp_path, make_wheel)()


def with_env(site, name: str, env: dict[str, str]):
    return site.with_image(dataclasses.replace(site.images[name], env=env))


def test_a_field_is_what_the_lock_gives(site):
    plan = with_env(site, "base", FIELDS).plan("base")
    assert plan.env == {"IMAGE": "base", "OF": f"base of 2023.11.14, {plan.locks.digest}", "PLAIN": "1"}


def test_the_version_is_the_labels_one(site):
    plan = with_env(site, "base", {"V": "{version}"}).plan("base")
    assert plan.env["V"] == plan.labels["org.opencontainers.image.version"]


def test_a_descendant_says_it_of_itself_and_inherits_the_rest(site):
    plan = with_env(with_env(site, "base", FIELDS), "child", {"OWN": "2"}).plan("child")
    assert plan.env == {"OWN": "2", "IMAGE": "child", "OF": f"child of 2023.11.15, {plan.locks.digest}"}
    assert plan.locks.digest != plan.parent.locks.digest


def test_a_descendants_own_word_wins(site):
    plan = with_env(with_env(site, "base", FIELDS), "child", {"IMAGE": "mine"}).plan("child")
    assert plan.env["IMAGE"] == "mine"


def test_images_without_fields_keep_their_config(site):
    """Digests of earlier locks depend on it, and on the order."""
    plan = with_env(with_env(site, "base", {"B": "1", "A": "{other} {}"}), "child", {"C": "3"}).plan("child")
    assert list(plan.parent.env.items()) == [("B", "1"), ("A", "{other} {}")]
    assert plan.env == {"C": "3"}


def test_config_and_dockerfile_agree(site):
    site = with_env(site, "base", FIELDS)
    built = site.build("child")
    plan = built.plan
    config = dict(entry.split("=", 1) for entry in built.image.config.env)
    assert config == {**plan.parent.env, **plan.env}
    recipe = render.recipe_of(plan, [f"sha256:{number:064x}" for number in range(len(plan.layers))])
    assert recipe.env == plan.env
