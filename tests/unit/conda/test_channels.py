"""Where channels are: what conda's and rattler's files say, and that no login leaves them."""

import json

import pytest

from helioimages.conda import channels
from helioimages.conda.channels import read_places
from helioimages.core.errors import HelioError


def places(tmp_path, condarc="", logins=None, **environ):
    (tmp_path / ".condarc").write_text(condarc)
    if logins is not None:
        (tmp_path / ".rattler").mkdir(exist_ok=True)
        (tmp_path / ".rattler" / "credentials.json").write_text(logins)
    return read_places({"HOME": str(tmp_path), **environ})


CONDARC = """\
auto_activate_base: false
channel_alias: https://mirror.example/t/tk-1/conda/
custom_channels:
  lab: https://me:secret@lab.example/channels
mirrored_channels:
  conda-forge: [https://near.example/conda-forge/, https://far.example/conda-forge]
"""


@pytest.mark.parametrize(
    ("channel", "addresses"),
    [
        ("bioconda", ["https://mirror.example/t/tk-1/conda/bioconda"]),
        ("lab", ["https://me:secret@lab.example/channels/lab"]),
        ("conda-forge", ["https://near.example/conda-forge", "https://far.example/conda-forge"]),
        ("https://else.example/x", ["https://else.example/x"]),
        ("file:///srv/x", ["file:///srv/x"]),
        ("conda-forge/label/dev", ["https://mirror.example/t/tk-1/conda/conda-forge/label/dev"]),
    ],
)
def test_what_a_name_means(tmp_path, channel, addresses):
    assert list(places(tmp_path, CONDARC).addresses(channel)) == addresses


def test_without_files_channels_are_where_conda_looks(tmp_path):
    places_read = read_places({"HOME": str(tmp_path)})
    assert places_read.addresses("conda-forge") == ("https://conda.anaconda.org/conda-forge",)
    assert places(tmp_path, CONDA_CHANNEL_ALIAS="https://a.example").addresses("x") == ("https://a.example/x",)


def test_every_file_that_conda_reads_is_read_the_last_the_strongest(tmp_path, monkeypatch):
    system, home, prefix = (tmp_path / name for name in ("etc", "home", "prefix"))
    monkeypatch.setattr(channels, "_OF_THE_MACHINE", (system,))
    environ = {"HOME": str(home), "CONDA_PREFIX": str(prefix), "CONDARC": str(tmp_path / "named.yml")}
    environ["XDG_CONFIG_HOME"] = str(home / "xdg")
    order = [
        system / ".condarc",
        system / "condarc",
        *(system / "condarc.d" / name for name in ("a.yml", "b.yaml")),
        home / "xdg/conda/.condarc",
        home / ".config/conda/condarc",
        home / ".conda/condarc.d/x.yml",
        home / ".condarc",
        prefix / ".condarc",
        tmp_path / "named.yml",
    ]
    for number, path in enumerate(order):
        path.parent.mkdir(parents=True, exist_ok=True)
        alias = f"https://{number}.example"
        # A file that says nothing of the alias leaves the one before; what each says of its own is kept.
        path.write_text(f"custom_channels: {{c{number}: {alias}, all: {alias}}}\nchannel_alias: {alias}\n")
        places_read = read_places(environ)
        assert places_read.addresses("other") == (f"{alias}/other",)
        assert places_read.addresses("all") == (f"{alias}/all",)
        assert places_read.file == str(path)
    assert places_read.addresses("c0") == ("https://0.example/c0",)
    (system / "condarc.d" / "notes.txt").write_text("no: [yaml\n")
    (tmp_path / "named.yml").write_text("auto_activate: false\n")
    assert read_places(environ).addresses("other") == (f"https://{len(order) - 2}.example/other",)


def test_a_file_where_conda_has_a_folder_is_not_looked_into(tmp_path):
    (tmp_path / ".conda").write_text("")
    assert places(tmp_path, CONDARC).addresses("lab") == ("https://me:secret@lab.example/channels/lab",)


def test_an_address_that_has_a_name_is_called_by_it(tmp_path):
    places_read = places(tmp_path, CONDARC)
    assert places_read.name("https://mirror.example/conda/bioconda/", "f") == "bioconda"
    assert places_read.name("https://lab.example/channels/lab", "f") == "lab"
    assert places_read.name("https://lab.example/channels/other", "f") == "https://lab.example/channels/other"


@pytest.mark.parametrize("url", ["https://me:hunter2@h.example/x", "https://h.example/t/hunter2/x"])
def test_a_login_does_not_stand_in_an_environment(tmp_path, url):
    with pytest.raises(HelioError) as caught:
        places(tmp_path).name(url, "environments/e/environment.yml at channels[0]")
    assert "channels[0]" in str(caught.value) and "credentials.json" in caught.value.hint
    assert "hunter2" not in str(caught.value)


def test_defaults_is_no_channel(tmp_path):
    with pytest.raises(HelioError, match=r"`defaults` means other channels on other machines"):
        places(tmp_path).name("defaults", "f")


@pytest.mark.parametrize(
    ("login", "url", "headers"),
    [
        ({"BearerToken": "b"}, "https://h.example/x/f", {"Authorization": "Bearer b"}),
        ({"CondaToken": "c"}, "https://h.example/t/c/x/f", {}),
        (
            {"BasicHTTP": {"username": "u", "password": "p"}},
            "https://h.example/x/f",
            {"Authorization": "Basic dTpw"},
        ),
    ],
)
@pytest.mark.parametrize("host", ["h.example", "*.example"])
def test_logins_are_those_of_rattler(tmp_path, host, login, url, headers):
    places_read = places(tmp_path, logins=json.dumps({host: login}))
    assert places_read.login("https://h.example/x/f") == (url, headers)
    assert places_read.login("https://h.elsewhere/x/f") == ("https://h.elsewhere/x/f", {})


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for text, place, detail in (
        ("[1]", "the top level", "expected an object not an array"),
        ('{"h.example": "s3cret"}', "h.example", "expected an object not a string"),
        ("{", "line 1", "Expecting property name enclosed in double quotes"),
    ):
        with pytest.raises(HelioError, match=r"does not hold logins") as caught:
            places(tmp_path, logins=text)
        assert caught.value.where.endswith(f"credentials.json at {place}")
        assert (caught.value.detail, "s3cret" in str(caught.value)) == (detail, False)
    with pytest.raises(HelioError, match=r"custom_channels"):
        places(tmp_path, "custom_channels: {x: here}\n")
