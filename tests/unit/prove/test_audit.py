from __future__ import annotations

import dataclasses
import json
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from building_support import workshops
from click.testing import CliRunner
from command_line import main

from helioimages.catalogue.advisories import parse
from helioimages.core.errors import HelioError
from helioimages.core.package import Advised, Package
from helioimages.prove import audit, osv

ROOT = Path(__file__).parents[3]
CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
LOW = "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"


def record(*events: dict, ecosystem: str = "PyPI", name: str = "demo", versions=(), **changes) -> str:
    affected = {"package": {"ecosystem": ecosystem, "name": name}, "versions": list(versions)}
    if events:
        affected["ranges"] = [{"type": "ECOSYSTEM", "events": list(events)}]
    values = {"id": "X-1", "modified": "2026-01-01T00:00:00Z", "summary": "bad", "affected": [affected]}
    return json.dumps(values | changes)


def hit(
    version: str, *events: dict, ecosystem: str = "PyPI", name: str = "demo", versions=(), release: str = ""
) -> bool:
    affected = osv.parse(record(*events, ecosystem=ecosystem, name=name, versions=versions), "x.json").affected[0]
    component = Advised(ecosystems=(ecosystem.partition(":")[0],), release=release, name="demo", version=version)
    return osv.affects(affected, component)


FROM_0 = {"introduced": "0"}


@pytest.mark.parametrize(
    ("version", "events", "expected"),
    [
        ("1.0", [FROM_0, {"fixed": "1.1"}], True),
        ("1.1", [FROM_0, {"fixed": "1.1"}], False),
        ("1.1rc1", [FROM_0, {"fixed": "1.1"}], True),
        ("1.1", [FROM_0, {"last_affected": "1.1"}], True),
        ("1.1.post1", [FROM_0, {"last_affected": "1.1"}], False),
        ("0.9", [{"introduced": "1.0"}], False),
        ("2.0", [{"fixed": "1.5"}, {"introduced": "1.0"}, {"introduced": "2.0"}, {"fixed": "2.1"}], True),
        ("1.7", [{"fixed": "1.5"}, {"introduced": "1.0"}, {"introduced": "2.0"}, {"fixed": "2.1"}], False),
        ("3.0", [FROM_0, {"limit": "3.0"}], False),
        ("2.9", [FROM_0, {"limit": "3.0"}], True),
        ("2.9", [FROM_0, {"limit": "*"}], True),
        ("1!0.1", [FROM_0, {"fixed": "99"}], False),
        ("5", [], False),
    ],
)
def test_ranges(version, events, expected):
    assert hit(version, *events) is expected


def test_lists_of_versions_compare_as_versions():
    assert hit("1.0", versions=["0.9", "not one", "1.0.0"])
    assert not hit("1.1", versions=["1.0"])


def test_names_are_those_of_the_ecosystem():
    assert hit("1", FROM_0, name="Demo")
    assert not hit("1", FROM_0, name="demo2")
    assert not hit("1", FROM_0, ecosystem="conda", name="Demo")


def test_debian_has_releases_and_an_order_of_its_own():
    assert hit("1.0~rc1-1", FROM_0, {"fixed": "1.0-1"}, ecosystem="Debian:13", release="13")
    assert not hit("1.0-1", FROM_0, {"fixed": "1.0-1"}, ecosystem="Debian:13", release="13")
    assert not hit("0", FROM_0, ecosystem="Debian:12", release="13")
    assert hit("0", FROM_0, ecosystem="Debian", release="13")


def test_conda_orders_letters_its_own_way():
    assert hit("1.0.1post", {"introduced": "1.0.1"}, ecosystem="conda")
    assert not hit("1.0.1a", {"introduced": "1.0.1"}, ecosystem="conda")


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([CRITICAL], ("critical", 9.8)),
        ([LOW, "HIGH"], ("high", 1.8)),
        (["CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"], ("critical", 9.3)),
        (["AV:N/AC:L/Au:N/C:P/I:P/A:P"], ("high", 7.5)),
        (["MODERATE"], ("moderate", None)),
        (["low**"], ("low", None)),
        (["not yet assigned", "CVSS:3.1/nonsense"], ("unknown", None)),
        ([], ("unknown", None)),
    ],
)
def test_severities(severities, expected):
    assert osv.rate(severities) == expected


@pytest.mark.parametrize(
    ("text", "key", "detail"),
    [
        ("[]", "the top level", "expected a mapping, not a list"),
        ('{"id": 3}', "id", "expected a string, not a whole number: 3"),
        (
            record(FROM_0, {"fixed": 3}),
            "affected[0].ranges[0].events[1].fixed",
            "expected a string, not a whole number: 3",
        ),
        (record(aliases=["a", 1]), "aliases[1]", "expected a string, not a whole number: 1"),
        (
            record(FROM_0).replace("ECOSYSTEM", "ALPHABET"),
            "affected[0].ranges[0].type",
            "expected GIT, SEMVER or ECOSYSTEM, not 'ALPHABET'",
        ),
    ],
)
def test_a_malformed_record_is_named(text, key, detail):
    with pytest.raises(HelioError) as caught:
        osv.parse(text, "X-1.json")
    assert str(caught.value) == f"cannot read `X-1.json`\n  in X-1.json at {key}\n  {detail}"


def packages(*rows: tuple[str, str, str]) -> tuple[audit.AuditedPackage, ...]:
    return tuple(
        audit.AuditedPackage(package=Package(kind=kind, name=name, version=version), file="lock", images=("base",))
        for kind, name, version in rows
    )


def test_records_of_one_fault_are_one_finding():
    records = [
        record(FROM_0, {"fixed": "2"}, id="PYSEC-1", aliases=["CVE-1"]),
        record(
            FROM_0, {"fixed": "2.0"}, id="GHSA-1", aliases=["CVE-1"], severity=[{"type": "CVSS_V3", "score": CRITICAL}]
        ),
        record(FROM_0, id="GHSA-2"),
        record(FROM_0, id="GHSA-3", withdrawn="2026-01-02T00:00:00Z"),
    ]
    report = audit.audit(packages(("wheel", "demo", "1")), [osv.parse(text, "x") for text in records])
    first, second = report.findings
    assert (first.ids, first.severity, first.score, first.fixed) == (
        ("PYSEC-1", "CVE-1", "GHSA-1"),
        "critical",
        9.8,
        ("2", "2.0"),
    )
    assert (second.ids, second.severity, second.counts_as) == (("GHSA-2",), "unknown", "moderate")
    assert report.failing("critical") == (first,)
    assert report.failing("moderate") == (first, second)
    assert report.lines() == [
        "severity      package       version  fixed in",
        "critical 9.8  demo (wheel)  1        2, 2.0",
        "    CVE-1 PYSEC-1, in base",
        "    bad",
        "unknown       demo (wheel)  1        -",
        "    GHSA-2, in base",
        "    bad",
        "1 package, 4 advisories (newest 2026-01-01T00:00:00Z): 2 findings",
    ]


def test_a_table_fits_a_terminal_of_80_columns():
    advisory = osv.parse(record(FROM_0, id="GHSA-abcd-efgh-ijkl", aliases=["CVE-2026-1"], summary="word " * 40), "x")
    lines = audit.audit(packages(("wheel", "demo", "1")), [advisory]).lines()
    assert max(map(len, lines)) <= 80
    assert lines[3] == f"    {'word ' * 14}…"


def test_an_accepted_fault_is_shown_and_does_not_count():
    advisory = osv.parse(record(FROM_0, id="GHSA-1", aliases=["CVE-1"], database_specific={"severity": "HIGH"}), "x")
    report = audit.audit(packages(("wheel", "demo", "1")), [advisory], ignore=["CVE-1"])
    assert report.findings[0].ignored and report.failing("low") == ()


def test_what_cannot_be_ordered_is_told():
    advisory = osv.parse(record({"introduced": "banana"}, id="GHSA-1"), "x")
    report = audit.audit(packages(("wheel", "demo", "1")), [advisory])
    assert report.unread == ("GHSA-1 for demo 1: Invalid version: 'banana'",)


def test_folders_and_zips_are_read_alike(tmp_path: Path):
    folder = tmp_path / "osv" / "PyPI"
    folder.mkdir(parents=True)
    (folder / "X-1.json").write_text(record(FROM_0))
    with zipfile.ZipFile(tmp_path / "osv" / "Debian.zip", "w") as archive:
        archive.writestr("X-2.json", record(FROM_0, id="X-2"))
        archive.writestr("README", "no record")
    assert [advisory.id for advisory in audit.load(tmp_path / "osv")] == ["X-2", "X-1"]
    assert [advisory.id for advisory in audit.load(tmp_path / "osv" / "Debian.zip")] == ["X-2"]


def test_no_advisories_are_an_error(tmp_path: Path):
    with pytest.raises(HelioError) as caught:
        list(audit.load(tmp_path))
    assert str(caught.value) == (
        f"there are no advisories at `{tmp_path}`\n  expected files *.json or *.zip, found none"
    )
    (tmp_path / "all.zip").write_bytes(b"<html>")
    with pytest.raises(HelioError) as caught:
        list(audit.load(tmp_path))
    assert str(caught.value) == (f"cannot read advisories `all.zip`\n  in {tmp_path}/all.zip\n  File is not a zip file")


def test_a_record_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(audit, "_RECORD_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X-1.json", " " * 5000)
    with pytest.raises(HelioError) as caught:
        list(audit.load(tmp_path))
    assert str(caught.value) == (
        "cannot read advisory `all.zip:X-1.json`\n  in all.zip:X-1.json\n  expected at most 1,000 bytes not 5,000"
    )


def run(*arguments: str):
    return CliRunner().invoke(main, ["audit", *arguments], env={"COLUMNS": "200"})


@pytest.fixture
def store(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))


def test_the_verb_on_the_committed_locks(tmp_path: Path, store):
    rows = {
        "wheel": record(FROM_0, name="jupyterlab", id="GHSA-wheel", database_specific={"severity": "LOW"}),
        "conda": record(
            FROM_0, name="openssl", ecosystem="Bitnami", id="BIT-1", severity=[{"type": "CVSS_V3", "score": CRITICAL}]
        ),
        "deb": record(FROM_0, name="glibc", ecosystem="Debian:13", id="DSA-1"),
        "other": record(FROM_0, name="no-such-package", id="GHSA-none"),
    }
    for name, text in rows.items():
        (tmp_path / f"{name}.json").write_text(text)
    result = run("base", "--advisories", str(tmp_path), "--fail-on", "critical", "--json")
    faults = {(finding["kind"], finding["name"]) for finding in json.loads(result.stdout)["findings"]}
    assert {("wheel", "jupyterlab"), ("conda", "openssl"), ("debian", "libc6")} <= faults
    assert result.exit_code == 12
    error = json.loads(result.stderr)["error"]
    assert error["message"] == "1 advisory of severity critical or more"
    assert error["detail"].startswith("`openssl` ")
    (tmp_path / "conda.json").unlink()
    assert run("base", "--advisories", str(tmp_path), "--fail-on", "critical").exit_code == 0


def test_the_verb_needs_to_know_where_advisories_are(store):
    result = run("base")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: which advisories?\n\nhint: give either --advisories PATH or --fetch\n",
    )


def test_fetching_offline_says_so(store):
    result = run("base", "--fetch", "--source", "http://127.0.0.1:9")
    assert result.exit_code == 5
    told = "error: cannot fetch the advisories of `PyPI`\n  in http://127.0.0.1:9/PyPI/all.zip\n  ConnectionError: "
    assert told in result.stderr
    assert result.stderr.endswith(
        "hint: download the file where the network allows it, and give its folder with --advisories\n"
    )


@pytest.fixture
def osv_server(tmp_path: Path):
    """Serve a folder as OSV's bucket does: one zip an ecosystem."""
    folder = tmp_path / "bucket"
    rows = {
        "PyPI": record(FROM_0, name="jupyterlab", id="GHSA-wheel", database_specific={"severity": "CRITICAL"}),
        "Debian:13": record(FROM_0, name="glibc", ecosystem="Debian:13", id="DSA-1"),
    }
    for ecosystem, text in rows.items():
        (folder / ecosystem).mkdir(parents=True)
        with zipfile.ZipFile(folder / ecosystem / "all.zip", "w") as archive:
            archive.writestr("X-1.json", text)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_advisories_are_fetched_and_matched(osv_server, store):
    _, source = osv_server
    result = run("base", "--fetch", "--source", source, "--fail-on", "critical", "--json")
    faults = {(finding["kind"], finding["name"]) for finding in json.loads(result.stdout)["findings"]}
    assert {("wheel", "jupyterlab"), ("debian", "libc6")} <= faults
    assert result.exit_code == 12


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (None, "HTTPError: 404 Client Error: File not found for url: {url}"),
        (b"<html>please log in</html>", "File is not a zip file"),
    ],
)
def test_a_server_without_a_database_is_told(osv_server, store, data, fault):
    folder, source = osv_server
    path = folder / "Debian:13" / "all.zip"
    path.unlink() if data is None else path.write_bytes(data)
    url = f"{source}/Debian:13/all.zip"
    result = run("base", "--fetch", "--source", source)
    assert (result.exit_code, result.stderr) == (
        5,
        f"error: cannot fetch the advisories of `Debian:13`\n  in {url}\n  {fault.format(url=url)}\n\n"
        "hint: download the file where the network allows it, and give its folder with --advisories\n",
    )


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([CRITICAL, LOW, "LOW"], ("critical", 9.8)),
        ([LOW, CRITICAL], ("critical", 9.8)),
        (["HIGH", "moderate"], ("high", None)),
        (["CVSS:3.1/AV:N/AC:L/PR:L/UI:R/S:C/C:H/I:H/A:H"], ("critical", 9.0)),
        (["CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:C/C:L/I:L/A:N"], ("moderate", 4.7)),
        (["AV:N/AC:M/Au:S/C:P/I:P/A:P"], ("moderate", 6.0)),
        (["AV:A/AC:L/Au:M/C:P/I:P/A:N"], ("low", 3.7)),
    ],
)
def test_the_severest_word_and_number_win(severities, expected):
    assert osv.rate(severities) == expected


def test_what_exporters_write_is_read():
    text = record(FROM_0, withdrawn=None, aliases=["GHSA-1"], upstream=["CVE-1"], severity=None)
    advisory = osv.parse(text, "x.json")
    assert (advisory.aliases, advisory.withdrawn, advisory.severities) == (("GHSA-1", "CVE-1"), False, ())
    semver = json.loads(record(FROM_0, {"fixed": "2"}))
    semver["affected"][0]["ranges"][0]["type"] = "SEMVER"
    component = Advised(ecosystems=("PyPI",), release="", name="demo", version="1")
    assert osv.affects(osv.parse(json.dumps(semver), "x").affected[0], component)


def test_findings_are_in_order_of_severity_and_the_newest_record_is_told():
    def advisory_of(name: str, modified: str, severity: str) -> osv.Advisory:
        affected = [{"package": {"ecosystem": "PyPI", "name": "demo"}, "versions": ["1"]}]
        affected[0] |= {"severity": [{"type": "CVSS_V3", "score": severity}]} if severity else {}
        changes = {"affected": affected, "modified": modified, "severity": [{"type": "CVSS_V3", "score": LOW}]}
        return osv.parse(record(id=name, **changes), "x")

    records = [advisory_of("A", "2026-01-03T00:00:00Z", ""), advisory_of("B", "2026-01-01T00:00:00Z", CRITICAL)]
    report = audit.audit(packages(("wheel", "demo", "1")), records)
    assert [(row.ids[0], row.severity) for row in report.findings] == [("B", "critical"), ("A", "low")]
    assert report.newest == "2026-01-03T00:00:00Z"


def test_names_join_records_whatever_their_order():
    rows = [record(FROM_0, id="A", aliases=["X"]), record(FROM_0, id="B", aliases=["Y"])]
    rows.append(record(FROM_0, id="C", aliases=["X", "Y"]))
    report = audit.audit(packages(("wheel", "demo", "1")), [osv.parse(text, "x") for text in rows])
    assert [set(finding.ids) for finding in report.findings] == [{"A", "B", "C", "X", "Y"}]


def test_packages_are_looked_up_under_the_names_of_advisories(tmp_path, make_wheel):
    lock = workshops(tmp_path, make_wheel)().locks["base"]
    (python,), (apt,) = lock.conda.packages, lock.apt.packages
    six = dataclasses.replace(python, name="six", version="1.17", depends=("python >=3.9",))
    deb = dataclasses.replace(apt, name="libapt", version="3.0-1+b2", file_name="pool/main/a/apt/libapt_3.deb")
    lock = dataclasses.replace(
        lock,
        parts={
            "conda": dataclasses.replace(lock.conda, packages=(python, six)),
            "wheel": dataclasses.replace(lock.pypi, wheels=lock.pypi.wheels[:1]),
            "debian": dataclasses.replace(lock.apt, packages=(deb,)),
        },
        files={"conda": "c", "pypi": "p", "apt": "a"},
    )
    packages = {package.package.name: package for package in audit.packages({"base": lock, "child": lock}, "linux-64")}
    upstream = ("conda", "conda-forge", "Bitnami", "OSS-Fuzz")
    assert {
        name: (package.package.kind, package.package.version, package.file, package.advised)
        for name, package in packages.items()
    } == {
        "big": ("wheel", "1.0", "p", Advised(ecosystems=("PyPI",), name="big", version="1.0")),
        "python": ("conda", "3.13.5", "c", Advised(ecosystems=upstream, name="python", version="3.13.5")),
        "six": ("conda", "1.17", "c", Advised(ecosystems=(*upstream, "PyPI"), name="six", version="1.17")),
        "libapt": (
            "debian",
            "3.0-1+b2",
            "a",
            Advised(ecosystems=("Debian",), release="13", name="apt", version="3.0-1"),
        ),
    }
    assert {package.images for package in packages.values()} == {("base", "child")}


@pytest.mark.parametrize(
    ("urgency", "expected"),
    [
        ("unimportant", ("low", None)),
        ("unimportant**", ("low", None)),
        ("medium", ("moderate", None)),
        # A word that rates nothing does not hide the score.
        ("not yet assigned", ("critical", 9.8)),
        ("end-of-life", ("critical", 9.8)),
    ],
)
def test_debians_urgencies_mean_what_debian_means(urgency, expected):
    affected = [
        {
            "package": {"ecosystem": "Debian:13", "name": "glibc"},
            "versions": ["1"],
            "ecosystem_specific": {"urgency": urgency},
        }
    ]
    advisory = osv.parse(record(affected=affected, severity=[{"type": "CVSS_V3", "score": CRITICAL}]), "x")
    assert osv.rate_of(advisory, advisory.affected[0]) == expected


def test_every_build_of_a_catalogue(tmp_path):
    """Versions that no lock has; a Debian package by its source, which the locks know, and one that they do not."""
    rows = [("wheel", "demo", "1.0"), ("debian", "bash", "4.0"), ("debian", "nobody-knows", "1")]
    builds = [("2026.11.01", [0, 1]), ("2026.11.02", [0, 2])]
    document = {
        "version": 1,
        "packages": [{"kind": kind, "name": name, "version": version} for kind, name, version in rows],
        "images": [
            {
                "name": "base",
                "entries": [
                    {"tags": [tag], "digest": "sha256:" + "0" * 64, "packages": {"rows": its}} for tag, its in builds
                ],
            }
        ],
    }
    (tmp_path / "catalogue.json").write_text(json.dumps(document))
    advisories = tmp_path / "osv"
    advisories.mkdir()
    (advisories / "1.json").write_text(record(FROM_0, {"fixed": "1.1"}))
    debian = record(FROM_0, {"fixed": "5.0"}, ecosystem="Debian:13", name="bash", id="DSA-1")
    (advisories / "2.json").write_text(debian)
    words = ("--advisories", str(advisories), "--catalogue", str(tmp_path / "catalogue.json"), "--json")
    result = run("base", *words, "--fail-on", "critical")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    faults = {(finding["name"], finding["version"], tuple(finding["images"])) for finding in told["findings"]}
    assert faults == {
        ("demo", "1.0", ("base:2026.11.01", "base:2026.11.02")),
        ("bash", "4.0", ("base:2026.11.01",)),
    }
    assert told["asked"] == [["debian", "bash", "4.0"], ["wheel", "demo", "1.0"]]
    # The catalogue reads just this.
    read = parse(result.stdout, "audit.json")
    assert read.asked == {("debian", "bash", "4.0"), ("wheel", "demo", "1.0")}
    assert set(read.faults) == read.asked
    (tmp_path / "catalogue.json").write_text("[]")
    result = run("base", *words)
    assert result.exit_code == 2 and "catalogue.json` is not a catalogue" in result.output


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 2}, "version\n  expected 1 not 2"),
        ({"packages": [{"kind": "rpm", "name": "a", "version": "1"}]}, "packages[0].kind\n  expected one of conda, "),
        ({"packages": []}, "images[0].entries[0].packages.rows[0]\n  expected a number from 0 to -1 not 0"),
    ],
)
def test_a_catalogue_that_names_what_is_not_there(change, told):
    entry = {"tags": [], "digest": "sha256:" + "0" * 64, "packages": {"rows": [0]}}
    good = {"version": 1, "packages": [{"kind": "wheel", "name": "demo", "version": "1"}]}
    good |= {"images": [{"name": "base", "entries": [entry]}]}
    (package,) = audit.of_catalogue(json.dumps(good), "x.json", {})
    assert package.images == ("base:000000000000",)
    with pytest.raises(HelioError) as caught:
        audit.of_catalogue(json.dumps(good | change), "x.json", {})
    assert str(caught.value).startswith(f"`x.json` is not a catalogue\n  in x.json at {told}")
