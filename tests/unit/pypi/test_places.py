"""Which places pip and uv are configured for: variables, and files of the machine, the user and an environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.pypi import resolve
from helioimages.pypi.places import IndexPlaces, for_uv, pip_settings, read

HOST = "http://127.0.0.1:9"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Variables of somebody who configured nothing; an /etc/pip.conf of this machine is weaker than all."""
    return {name: str(tmp_path / name) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "VIRTUAL_ENV")}


def put(home: dict[str, str], variable: str, path: str, text: str) -> Path:
    file = Path(home[variable]) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def pip(url: str, section: str = "global") -> str:
    return f"[{section}]\nindex-url = {HOST}/{url}\n"


PLACES = (
    ("XDG_CONFIG_DIRS", "pip/pip.conf"),
    ("HOME", ".pip/pip.conf"),
    ("XDG_CONFIG_HOME", "pip/pip.conf"),
    ("VIRTUAL_ENV", "pip.conf"),
)


def test_pips_files_the_later_the_stronger(home, tmp_path):
    for number, (variable, path) in enumerate(PLACES):
        put(home, variable, path, pip(str(number)))
        if number:  # of the first one, /etc/pip.conf of this machine may have its own
            assert for_uv(home)["UV_DEFAULT_INDEX"] == f"{HOST}/{number}"
    put(home, "XDG_CONFIG_DIRS", "pip/pip.conf", pip("install", "install"))
    assert for_uv(home)["UV_DEFAULT_INDEX"] == f"{HOST}/install"
    (tmp_path / "named").write_text(pip("named", "install"))
    assert for_uv(home | {"PIP_CONFIG_FILE": str(tmp_path / "named")})["UV_DEFAULT_INDEX"] == f"{HOST}/named"
    assert "UV_DEFAULT_INDEX" not in for_uv(home | {"PIP_CONFIG_FILE": "/dev/null"})


def test_a_file_that_is_named_takes_the_place_of_the_users_own(home, tmp_path):
    put(home, "XDG_CONFIG_HOME", "pip/pip.conf", pip("user"))
    (tmp_path / "named").write_text("[global]\ntimeout = 3\n")
    assert pip_settings(home | {"PIP_CONFIG_FILE": str(tmp_path / "named")}).get("index-url") != f"{HOST}/user"
    assert pip_settings(home | {"PIP_CONFIG_FILE": str(tmp_path / "absent")})["index-url"] == f"{HOST}/user"


def test_variables_are_stronger_than_files_and_uvs_than_pips(home):
    put(home, "VIRTUAL_ENV", "pip.conf", pip("file"))
    ways = home | {"PIP_INDEX_URL": f"{HOST}/pip"}
    assert for_uv(ways)["UV_DEFAULT_INDEX"] == f"{HOST}/pip"
    assert "UV_DEFAULT_INDEX" not in for_uv(ways | {"UV_INDEX_URL": f"{HOST}/old"})
    assert for_uv(ways | {"UV_DEFAULT_INDEX": f"{HOST}/uv"})["UV_DEFAULT_INDEX"] == f"{HOST}/uv"


@pytest.mark.parametrize(
    "text",
    [
        f'index-url = "{HOST}/uv"',
        f'[pip]\nindex-url = "{HOST}/uv"',
        f'[[index]]\nurl = "{HOST}/uv"\ndefault = true',
    ],
)
@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"])
def test_uvs_own_file_is_stronger_than_pips(home, text, variable):
    put(home, "VIRTUAL_ENV", "pip.conf", pip("pip"))
    put(home, variable, "uv/uv.toml", text)
    assert "UV_DEFAULT_INDEX" not in for_uv(home)
    assert for_uv(home | {"UV_NO_CONFIG": "1"})["UV_DEFAULT_INDEX"] == f"{HOST}/pip"


def test_an_index_beside_the_default_is_no_default(home, tmp_path):
    put(home, "VIRTUAL_ENV", "pip.conf", pip("pip"))
    (tmp_path / "uv.toml").write_text(f'[[index]]\nurl = "{HOST}/beside"')
    assert for_uv(home | {"UV_CONFIG_FILE": str(tmp_path / "uv.toml")})["UV_DEFAULT_INDEX"] == f"{HOST}/pip"


def test_extra_indexes_and_lists_come_together(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extra = f"[global]\nextra-index-url =\n    {HOST}/b\n    {HOST}/c\nfind-links = wheels gone ~/more {HOST}/page\n"
    put(home, "VIRTUAL_ENV", "pip.conf", extra)
    monkeypatch.setenv("HOME", home["HOME"])
    for folder in (tmp_path / "wheels", Path(home["HOME"]) / "more"):
        folder.mkdir(parents=True)
    settings = for_uv(home | {"UV_EXTRA_INDEX_URL": f"{HOST}/a {HOST}/b", "UV_FIND_LINKS": "mine"})
    assert settings["UV_EXTRA_INDEX_URL"] == f"{HOST}/a {HOST}/b {HOST}/c"
    assert settings["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert "UV_INDEX_STRATEGY" not in for_uv({"PIP_CONFIG_FILE": "/dev/null", "UV_EXTRA_INDEX_URL": f"{HOST}/a"})
    assert for_uv(home | {"UV_INDEX_STRATEGY": "first-index"})["UV_INDEX_STRATEGY"] == "first-index"
    assert read(f"--index-url {HOST}/d\n", settings).together
    assert settings["UV_FIND_LINKS"] == f"{tmp_path}/mine,{tmp_path}/wheels,{home['HOME']}/more,{HOST}/page"


@pytest.mark.parametrize("text", ['index-strategy = "{}"', '[pip]\nindex-strategy = "{}"'])
def test_uvs_own_file_says_whether_indexes_count_together(home, text):
    put(home, "VIRTUAL_ENV", "pip.conf", f"[global]\nextra-index-url = {HOST}/b\n")
    for strategy, together in (("first-index", False), ("unsafe-first-match", True), ("unsafe-best-match", True)):
        put(home, "XDG_CONFIG_HOME", "uv/uv.toml", text.format(strategy))
        assert "UV_INDEX_STRATEGY" not in for_uv(home)
        assert read(f"--index-url {HOST}/d\n", for_uv(home)).together is together


def test_pips_variables_take_the_place_of_its_files(home):
    put(home, "VIRTUAL_ENV", "pip.conf", f"[global]\nextra_index_url = {HOST}/file\nno-index = true\n")
    assert for_uv(home)["UV_EXTRA_INDEX_URL"] == f"{HOST}/file"
    assert for_uv(home)["UV_NO_INDEX"] == "1"
    assert for_uv(home | {"PIP_EXTRA_INDEX_URL": f"{HOST}/x"})["UV_EXTRA_INDEX_URL"] == f"{HOST}/x"


@pytest.mark.parametrize("text", ["index-url = http://me:secret@h/\n", "[global]\nsecret\n", "[global\nsecret"])
def test_a_file_that_cannot_be_read_is_named_without_its_text(home, text):
    file = put(home, "VIRTUAL_ENV", "pip.conf", text)
    with pytest.raises(HelioError) as caught:
        for_uv(home)
    assert (caught.value.message, caught.value.where) == ("cannot read a configuration file of pip", str(file))
    assert "secret" not in str(caught.value)


def test_what_uv_tells_is_read_in_its_order():
    told = f"--index-url {HOST}/d\n--extra-index-url {HOST}/a\n--extra-index-url {HOST}/b\n--find-links /w x\n\n"
    alone = {"UV_NO_CONFIG": "1"}
    expected = IndexPlaces(indexes=(f"{HOST}/a", f"{HOST}/b", f"{HOST}/d"), links=("/w x",))
    assert read(told, alone) == expected
    assert read(told, alone | {"UV_NO_INDEX": "1"}) == IndexPlaces(indexes=(), links=("/w x",))


def test_an_index_with_a_name_has_the_login_of_its_variables(tmp_path):
    (tmp_path / "uv.toml").write_text(f'[[index]]\nname = "my-own"\nurl = "{HOST}/b/"\n')
    environ = {
        "UV_CONFIG_FILE": str(tmp_path / "uv.toml"),
        "UV_INDEX": f"one={HOST}/a {HOST}/c",
        "UV_INDEX_ONE_USERNAME": "me",
        "UV_INDEX_ONE_PASSWORD": "p@ss",
        "UV_INDEX_MY_OWN_PASSWORD": "t",
    }
    told = f"--index-url {HOST}/d\n" + "".join(f"--extra-index-url {HOST}/{letter}\n" for letter in "abc")
    assert read(told, environ).indexes == (
        "http://me:p%40ss@127.0.0.1:9/a",
        "http://:t@127.0.0.1:9/b/",
        f"{HOST}/c",
        f"{HOST}/d",
    )


@pytest.mark.parametrize(
    "files",
    [
        {"uv/uv.toml": f'[[index]]\nurl = "{HOST}/one"\n[[index]]\nurl = "{HOST}/own"\ndefault = true\n'},
        {"pip/pip.conf": f"[global]\nindex-url = {HOST}/own\nextra-index-url = {HOST}/one\n"},
        {
            "uv/uv.toml": f'extra-index-url = ["{HOST}/one"]\n',
            "pip/pip.conf": f"[global]\nindex-url = {HOST}/own\n",
        },
    ],
)
def test_uv_itself_asks_what_the_files_say(package_index, home, monkeypatch, files):
    for name in ("UV_DEFAULT_INDEX", "UV_NO_CONFIG", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name)
    for name, folder in home.items():
        monkeypatch.setenv(name, folder)
    for path, text in files.items():
        put(home, "XDG_CONFIG_HOME", path, text)
    assert resolve.places().indexes == (f"{HOST}/one", f"{HOST}/own")
