from __future__ import annotations

from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.make.plan import LayerKind, LayerPlan
from helioimages.make.render import DockerfileRecipe, RecipeLayer, check, described, dockerfile, quoted

TEMPLATE = (Path(__file__).parents[3] / "images" / "Dockerfile.j2").read_text()
DIFF = "sha256:" + "a" * 64


def recipe(**changes) -> DockerfileRecipe:
    values = dict(
        name="child",
        lock_digest="sha256:" + "1" * 64,
        parent="helioimages/base:lock-abc",
        layers=(RecipeLayer(diff_id=DIFF, comment="wheels-01: numpy 2.4.6"),),
        env={"A": 'say "$HOME"'},
        labels={"b": "c d"},
        ports=("8888/tcp",),
        workdir="/home/jovyan",
        user="1000",
        entrypoint=("/srv/start",),
        cmd=("jupyter", "lab"),
    )
    return DockerfileRecipe(**(values | changes))


def test_a_whole_dockerfile():
    lines = dockerfile(recipe(), TEMPLATE).splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "ARG PARENT=helioimages/base:lock-abc",
        "FROM ${PARENT}",
        f"ADD layers/{'a' * 64}.tar.gz /",
        'ENV A="say \\"\\$HOME\\""',
        'LABEL b="c d"',
        "EXPOSE 8888/tcp",
        "WORKDIR /home/jovyan",
        "USER 1000",
        'ENTRYPOINT ["/srv/start"]',
        'CMD ["jupyter", "lab"]',
    ]
    assert "# wheels-01: numpy 2.4.6" in lines


def test_without_parent_it_starts_from_scratch():
    assert "\nFROM scratch\n" in dockerfile(recipe(parent=None), TEMPLATE)


def test_long_package_lists_stay_comments():
    layer = RecipeLayer(diff_id=DIFF, comment=", ".join(f"package-{n} 1.0" for n in range(60)))
    for line in dockerfile(recipe(layers=(layer,)), TEMPLATE).splitlines():
        assert not line.startswith(("package", " "))


def test_check_names_the_file_and_shows_the_difference(tmp_path):
    committed = tmp_path / "Dockerfile"
    committed.write_text(dockerfile(recipe(), TEMPLATE))
    check(recipe(), TEMPLATE, committed, "images/child/Dockerfile")
    other = RecipeLayer(diff_id="sha256:" + "b" * 64, comment="wheels-01: numpy 2.4.7")
    with pytest.raises(HelioError) as caught:
        check(recipe(layers=(other,)), TEMPLATE, committed, "images/child/Dockerfile")
    assert caught.value.message == "`images/child/Dockerfile` is not what this machine builds"
    assert "-# wheels-01: numpy 2.4.6" in caught.value.detail
    assert "+# wheels-01: numpy 2.4.7" in caught.value.detail


def test_a_healed_image_may_differ_in_its_debian_layer_only(tmp_path):
    debian = RecipeLayer(diff_id="sha256:" + "c" * 64, comment="Debian trixie: curl 1")
    committed = tmp_path / "Dockerfile"
    committed.write_text(dockerfile(recipe(layers=(debian, *recipe().layers)), TEMPLATE))
    newer = RecipeLayer(diff_id="sha256:" + "d" * 64, comment="Debian trixie: curl 2")
    shown = "images/child/Dockerfile"
    check(recipe(layers=(newer, *recipe().layers)), TEMPLATE, committed, shown, healed=True)
    with pytest.raises(HelioError, match="is not what this machine builds"):
        check(recipe(layers=(newer, *recipe().layers)), TEMPLATE, committed, shown)
    other = RecipeLayer(diff_id="sha256:" + "e" * 64, comment="wheels-01: numpy 2.4.6")
    with pytest.raises(HelioError, match="is not what this machine builds"):
        check(recipe(layers=(newer, other)), TEMPLATE, committed, shown, healed=True)


def test_an_unknown_name_in_the_template_is_an_error():
    with pytest.raises(HelioError, match=r"cannot render `images/Dockerfile.j2`"):
        dockerfile(recipe(), "{{ recipe.nothing }}")


def test_quoted_expands_nothing():
    assert quoted('a"b\\c$d') == '"a\\"b\\\\c\\$d"'


def test_conda_packages_of_several_channels_are_told_apart():
    package = Package(
        kind="conda",
        name="libz",
        version="1.3",
        file_name="libz-1.3-h0_0.conda",
        sha256="1" * 64,
        size=1,
        purl="pkg:conda/libz@1.3?build=h0_0&channel=https:%2F%2Fh.example%2Fx&subdir=linux-64",
    )
    layer = LayerPlan(
        image="e", kind=LayerKind.PACKAGES, name="conda-01", key="k", comment="as it is", size=1, packages=(package,)
    )
    assert described(layer, ("local",)) == "as it is"
    assert described(layer, ("local", "https://h.example/x")) == "conda-01: https://h.example/x::libz 1.3 h0_0"
