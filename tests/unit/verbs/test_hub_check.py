"""`hub-check` against a registry on loopback: what is old, gone, yanked, and what moving costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import main
from faulty_registry import FaultyRegistry

from helioimages.core import entries
from helioimages.core.errors import Stage
from helioimages.core.platform import Platform
from helioimages.oci.image import Addition, Image, Settings, append
from helioimages.oci.layer import write_layer
from helioimages.oci.transport import Silent, Transport

OSV = {
    "id": "GHSA-1",
    "aliases": ["CVE-2026-1"],
    "modified": "2026-01-01T00:00:00Z",
    "summary": "bad",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "numpy"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
        }
    ],
    "database_specific": {"severity": "HIGH"},
}


class Registry(FaultyRegistry):
    """Has images of one layer a package."""

    def add(self, folder: Path, tag: str, *packages: str) -> Image:
        rows = []
        for name in packages:
            with open(folder / name, "w+b") as file:
                layer = write_layer([entries.file(f"srv/{name}", name.encode() * 100)], file)
            self.put("heliocloud/base", (folder / name).read_bytes())
            rows.append(Addition(layer=layer, created_by=f"ADD {name}", comment=f"{name}: {name} 1.0"))
        image = append(None, rows, Settings(), platform=Platform.of("linux/amd64"), created_epoch=0)
        self.put("heliocloud/base", image.config_bytes)
        for name in (tag, image.digest):
            self.manifests["heliocloud/base", name] = (image.manifest.media_type, image.manifest_bytes)
        return image


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    made = Registry()
    made.add(tmp_path, "2026.11.19", "numpy")
    made.add(tmp_path, "2026.11.27", "numpy", "sunpy")
    yield made
    made.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout that yanked nothing yet."""
    (tmp_path / "checkout" / "images" / "base").mkdir(parents=True)
    return tmp_path / "checkout"


def check(tmp_path: Path, checkout: Path, reference: str, *words: str):
    (tmp_path / "values.yaml").write_text(json.dumps({"singleuser": {"image": reference}}))
    return CliRunner().invoke(main, ["hub-check", str(tmp_path / "values.yaml"), "--root", str(checkout), *words])


def test_an_old_one_is_told_with_what_moving_costs(registry, tmp_path, checkout):
    name = f"{registry.host}/heliocloud/base:2026.11.19"
    done = check(tmp_path, checkout, name, "--json")
    (row,) = json.loads(done.stdout)
    assert (done.exit_code, row["newest"], row["faults"]) == (0, "2026.11.27", [])
    assert row["move_bytes"] > 0
    assert check(tmp_path, checkout, name).stdout.splitlines()[:2] == [
        f"{name}  (singleuser.image)",
        f"  old: the newest tag is 2026.11.27; a node pulls {row['move_bytes']} B for it",
    ]


def test_the_newest_one(registry, tmp_path, checkout):
    name = f"{registry.host}/heliocloud/base:2026.11.27"
    done = check(tmp_path, checkout, name)
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [f"{name}  (singleuser.image)", "  no signature is attached"],
    )


def test_one_that_is_gone_is_a_fault_with_the_tags_there(registry, tmp_path, checkout):
    done = check(tmp_path, checkout, f"{registry.host}/heliocloud/base:2026.11.20")
    assert done.exit_code == 12
    assert "fault: `" in done.stdout and "2026.11.27" in done.stdout


def test_an_image_of_many_profiles_is_asked_for_once(registry, tmp_path, checkout):
    name = f"{registry.host}/heliocloud/base:2026.11.27"
    check(tmp_path, checkout, name)
    once = len(registry.log)
    offers = [{"kubespawner_override": {"image": name}} for _ in range(3)]
    (tmp_path / "values.yaml").write_text(json.dumps({"singleuser": {"image": name, "profileList": offers}}))
    words = ["hub-check", str(tmp_path / "values.yaml"), "--root", str(checkout), "--json"]
    rows = json.loads(CliRunner().invoke(main, words).stdout)
    assert [row["where"] for row in rows] == [
        "singleuser.image",
        *(f"singleuser.profileList[{at}].kubespawner_override.image" for at in range(3)),
    ]
    assert len(registry.log) == 2 * once


def test_a_file_that_cannot_be_read_is_told_without_a_traceback(tmp_path, checkout):
    (tmp_path / "values.yaml").write_bytes(b"\0GITCRYPT\0")
    done = CliRunner().invoke(main, ["hub-check", str(tmp_path / "values.yaml"), "--root", str(checkout)])
    assert done.exit_code == 2 and "cannot read `values.yaml`" in done.stderr


def test_a_yanked_one_is_a_fault(registry, tmp_path, checkout):
    (checkout / "images/base/yanked.toml").write_text(
        '[[yanked]]\ntag = "2026.11.19"\nreason = "broken"\ndate = 2026-11-20\nreplacement = "2026.11.27"\n'
    )
    done = check(tmp_path, checkout, f"{registry.host}/heliocloud/base:2026.11.19")
    assert done.exit_code == 12
    assert "  fault: yanked: broken; take 2026.11.27\n" in done.stdout


def test_advisories_of_what_is_inside(registry, tmp_path, checkout):
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv" / "x.json").write_text(json.dumps(OSV))
    done = check(
        tmp_path, checkout, f"{registry.host}/heliocloud/base:2026.11.27", "--advisories", str(tmp_path / "osv")
    )
    assert (done.exit_code, done.stdout.splitlines()[1:]) == (
        12,
        [
            "  fault: CVE-2026-1: numpy 1.0 (high)",
            "  no signature is attached",
            "  1 advisory of any severity in 2 packages",
        ],
    )


def test_a_registry_that_does_not_answer_is_asked_once(registry, tmp_path, checkout, monkeypatch):
    asked = []

    def silent(self) -> str:
        asked.append(self.host)
        raise Silent(Stage.PUBLISH, f"no registry answers at `{self.host}`", hint="check the name")

    monkeypatch.setattr(Transport, "_ping", silent)
    profiles = [{"kubespawner_override": {"image": f"127.0.0.1:9/x:{number}"}} for number in range(5)]
    (tmp_path / "values.yaml").write_text(json.dumps({"singleuser": {"profileList": profiles}}))
    words = ["hub-check", str(tmp_path / "values.yaml"), "--root", str(checkout), "--json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 12 and asked == ["127.0.0.1:9"]
    faults = [row["faults"] for row in json.loads(done.stdout)]
    assert faults == [["no registry answers at `127.0.0.1:9`: check the name"]] * 5
