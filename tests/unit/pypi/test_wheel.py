from __future__ import annotations

import csv
import hashlib
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helioimages.core.entries import Kind, file, merge
from helioimages.core.errors import HelioError, Stage
from helioimages.pypi.wheel import asking_less, link, with_compiled

PREFIX = "srv/conda/envs/notebook"
SITE = f"{PREFIX}/lib/python3.13/site-packages"


def by_path(entries):
    return {entry.path: entry for entry in entries}


def rows_of(entries):
    record = next(entry for entry in entries if entry.path.endswith(".dist-info/RECORD"))
    return {row[0]: row[1:] for row in csv.reader(io.StringIO(record.content.read().decode()))}


def test_every_scheme_has_its_place(make_wheel):
    path, wheel = make_wheel(
        {
            "demo/__init__.py": b"x = 1\n",
            "demo-1.0.data/purelib/pure.py": b"",
            "demo-1.0.data/platlib/plat.so": b"\x7fELF",
            "demo-1.0.data/scripts/tool": b"#!python\nprint()\n",
            "demo-1.0.data/scripts/shell": b"#!/bin/sh\n",
            "demo-1.0.data/data/share/demo/a.txt": b"a",
            "demo-1.0.data/headers/demo.h": b"int x;",
        },
        entry_points="[console_scripts]\ndemo = demo.cli:main\n[other]\nx = demo:y\n",
    )
    entries_by_path = by_path(link(path, wheel))
    assert sorted(entries_by_path) == sorted(
        [
            f"{PREFIX}/bin/demo",
            f"{PREFIX}/bin/shell",
            f"{PREFIX}/bin/tool",
            f"{PREFIX}/include/python3.13/demo/demo.h",
            f"{PREFIX}/share/demo/a.txt",
            f"{SITE}/demo/__init__.py",
            f"{SITE}/pure.py",
            f"{SITE}/plat.so",
            *(
                f"{SITE}/demo-1.0.dist-info/{name}"
                for name in ("INSTALLER", "METADATA", "RECORD", "WHEEL", "entry_points.txt")
            ),
        ]
    )
    assert entries_by_path[f"{PREFIX}/bin/tool"].content.read() == b"#!/srv/conda/envs/notebook/bin/python\nprint()\n"
    assert entries_by_path[f"{PREFIX}/bin/shell"].content.read() == b"#!/bin/sh\n"
    script = entries_by_path[f"{PREFIX}/bin/demo"].content.read().decode()
    assert script.startswith("#!/srv/conda/envs/notebook/bin/python\n")
    assert "from demo.cli import main" in script
    assert entries_by_path[f"{SITE}/demo-1.0.dist-info/INSTALLER"].content.read() == b"helioimages\n"
    assert {entry.mode for path, entry in entries_by_path.items() if "/bin/" in path} == {0o755}
    assert {entry.mode for path, entry in entries_by_path.items() if "/bin/" not in path} == {0o644}
    assert {(entry.uid, entry.gid, entry.kind, entry.origin) for entry in entries_by_path.values()} == {
        (0, 0, Kind.FILE, "demo-1.0")
    }


def test_executable_files_stay_so(make_wheel):
    path, wheel = make_wheel({"demo/run.sh": b"#!/bin/sh\n", "demo/a.py": b""}, executable=("demo/run.sh",))
    entries_by_path = by_path(link(path, wheel))
    assert entries_by_path[f"{SITE}/demo/run.sh"].mode == 0o755
    assert entries_by_path[f"{SITE}/demo/a.py"].mode == 0o644


def test_record_is_written_anew_and_lists_every_file(make_wheel):
    path, wheel = make_wheel(
        {"demo/__init__.py": b"1", "demo-1.0.data/scripts/t": b"#!python\n", "demo-1.0.data/data/etc/c": b"c"}
    )
    entries = link(path, wheel)
    rows = rows_of(entries)
    assert set(rows) == {
        "../../../bin/t",
        "../../../etc/c",
        "demo-1.0.dist-info/INSTALLER",
        "demo-1.0.dist-info/METADATA",
        "demo-1.0.dist-info/RECORD",
        "demo-1.0.dist-info/WHEEL",
        "demo/__init__.py",
    }
    assert rows["demo-1.0.dist-info/RECORD"] == ["", ""]
    assert rows["demo/__init__.py"] == ["sha256=a4ayc_80_OGda4BO_1o_V0etpOqiLx1JwB5S3beHW0s", "1"]


def test_compiled_files_are_listed_without_hash_and_in_any_order_alike(make_wheel):
    path, wheel = make_wheel({"demo/__init__.py": b"1"})
    entries = link(path, wheel)
    compiled = [file(f"{SITE}/demo/__pycache__/{name}.cpython-313.pyc", b"c") for name in ("b", "a")]
    first, other = with_compiled(entries, compiled), with_compiled(entries, reversed(compiled))
    assert rows_of(first)["demo/__pycache__/a.cpython-313.pyc"] == ["", ""]
    assert [e.content.read() for e in merge(first)[-9:] if e.content] == [
        e.content.read() for e in merge(other)[-9:] if e.content
    ]
    assert with_compiled(entries, []) == entries


def test_a_long_prefix_goes_through_the_shell(make_wheel):
    prefix = "/" + "/".join(["srv"] + ["x" * 40] * 3)
    path, wheel = make_wheel({}, entry_points="[console_scripts]\ndemo = demo:main\n")
    script = by_path(link(path, wheel, prefix=prefix))[f"{prefix[1:]}/bin/demo"].content.read().decode()
    assert script.splitlines()[:3] == [
        "#!/bin/sh",
        f'\'\'\'exec\' "{prefix}/bin/python" "$0" "$@"',
        "' '''",
    ]
    compile(script, "demo", "exec")


def test_what_an_installer_writes_is_not_taken_from_the_wheel(make_wheel):
    info = "demo-1.0.dist-info"
    path, wheel = make_wheel(
        {
            f"{info}/INSTALLER": b"evil\n",
            f"{info}/REQUESTED": b"",
            f"{info}/direct_url.json": b"{}",
            "demo/__pycache__/a.cpython-313.pyc": b"someone else's",
        }
    )
    entries_by_path = by_path(link(path, wheel))
    assert entries_by_path[f"{SITE}/{info}/INSTALLER"].content.read() == b"helioimages\n"
    assert not {f"{SITE}/{info}/REQUESTED", f"{SITE}/{info}/direct_url.json"} & entries_by_path.keys()
    assert not any("__pycache__" in path for path in entries_by_path)
    assert f"{SITE}/{info}/REQUESTED" in by_path(link(path, wheel, requested=True))


def test_contents_are_read_late(make_wheel):
    path, wheel = make_wheel({"demo/a.so": b"a", "demo/a.py": b"p", "demo-1.0.data/scripts/t": b"#!python\n"})
    entries = by_path(link(path, wheel))
    path.write_bytes(b"")
    with pytest.raises(HelioError, match="is not where the directory says"):
        entries[f"{SITE}/demo/a.so"].content.read()
    # A source is there once more, for the compiler, and not kept.
    assert entries[f"{SITE}/demo/a.py"].content.read() == b"p"
    with pytest.raises(HelioError, match="is not where the directory says"):
        entries[f"{SITE}/demo/a.py"].content.read()
    assert entries[f"{PREFIX}/bin/t"].content.read() == b"#!/srv/conda/envs/notebook/bin/python\n"


def test_a_content_knows_its_digest(make_wheel):
    path, wheel = make_wheel({"demo/a.so": b"a", "demo-1.0.data/scripts/t": b"#!python\n"})
    for entry in link(path, wheel):
        assert entry.content.sha256 == hashlib.sha256(entry.content.read()).hexdigest(), entry.path


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\n", "\t", "\x0b", "\x1c", ",", '"'])
def test_a_name_may_have_any_character(make_wheel, odd):
    path, wheel = make_wheel({f"demo/a{odd}b.txt": b"1"})
    entries = link(path, wheel)
    assert f"{SITE}/demo/a{odd}b.txt" in by_path(entries)
    assert f"demo/a{odd}b.txt" in rows_of(entries)


names = st.text("abc_", min_size=1, max_size=3)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=50), max_size=6))
def test_what_goes_in_comes_out(make_wheel, files):
    files = {f"demo/{path}.x": data for path, data in files.items()}
    path, wheel = make_wheel(files)
    contents = {entry.path: entry.content.read() for entry in link(path, wheel)}
    assert {f"{SITE}/{name}": data for name, data in files.items()}.items() <= contents.items()


def test_the_lock_names_another_wheel(make_wheel):
    path, wheel = make_wheel({})
    other = type(wheel)(name="demo", version="2.0", file_name=wheel.file_name, sha256=wheel.sha256, size=wheel.size)
    with pytest.raises(HelioError) as caught:
        link(path, other)
    assert caught.value.stage is Stage.LINK
    assert str(caught.value) == (
        "`demo-1.0-py3-none-any.whl` is not a valid wheel\n"
        "  the lock calls it demo 2.0\n"
        "\n"
        "hint: do not use it; lock another version"
    )


@pytest.mark.parametrize("place", ["scripts/tool", "data/bin/tool"])
def test_an_entry_point_wins_over_a_script_of_its_name(make_wheel, place):
    """As with pip and uv, which write entry points last (qtconsole 5.3.0 has both)."""
    path, wheel = make_wheel(
        {"demo/cli.py": b"", f"demo-1.0.data/{place}": b"#!python\nprint('old')\n"},
        entry_points="[console_scripts]\ntool = demo.cli:main\n",
    )
    linked = link(path, wheel)
    [command] = [entry for entry in linked if entry.path == f"{PREFIX}/bin/tool"]
    data = command.content.read()
    assert b"from demo.cli import main" in data and command.mode == 0o755
    record = next(entry for entry in linked if entry.path.endswith("/RECORD")).content.read().decode()
    rows = [row for row in csv.reader(io.StringIO(record)) if row[0].endswith("bin/tool")]
    assert [int(row[2]) for row in rows] == [len(data)]
    merge(linked)


def test_files_that_record_misses_are_installed_and_told(make_wheel, capsys):
    """As with pip and uv (selenium 4.1.0): the lock's digest is of the whole wheel."""
    path, wheel = make_wheel(
        {"demo/__init__.py": b"", "demo/data.bin": b"\x00\x01", "demo/more.bin": b""},
        record=lambda text: "".join(line for line in text.splitlines(True) if ".bin," not in line),
    )
    linked = link(path, wheel)
    assert by_path(linked)[f"{SITE}/demo/data.bin"].content.read() == b"\x00\x01"
    assert rows_of(linked)["demo/data.bin"][1] == "2"
    assert capsys.readouterr().err.replace("\n", " ").strip() == (
        "warning: demo-1.0-py3-none-any.whl: its RECORD does not list 2 of its files (e.g. demo/data.bin); they are "
        "installed, as pip does"
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_requirements_that_are_left_out(make_wheel, end):
    """Whatever their spelling or folding; extras stay, for packages read them, and so does all else of METADATA."""
    head = [
        b"Metadata-Version: 2.4",
        b"Name: demo",
        b"Version: 1.0",
        b"Requires-Dist: Some.Lib (>=2,",
        b"  <3)",
        b"Requires-Dist: some-lib-more",
        b"requires-dist: some_LIB[x]>=1; extra == 'y'",
        b"Requires-Dist:some-lib@https://example.org/some-lib.whl",
        b"Requires-Python: >=3",
        b"",
        b"Requires-Dist: some-lib",
    ]
    data = end.join(head) + end
    path, wheel = make_wheel({"demo/a.py": b"", "demo-1.0.dist-info/METADATA": data})
    linked = link(path, wheel)
    changed = asking_less(linked, {"some-lib"}, "demo-1.0")
    at = f"{SITE}/demo-1.0.dist-info/METADATA"
    want = end.join([*head[:3], *head[5:7], *head[8:]]) + end
    assert by_path(changed)[at].content.read() == want
    assert rows_of(changed)["demo-1.0.dist-info/METADATA"][1] == str(len(want))
    assert by_path(asking_less(linked, set(), "demo-1.0"))[at].content.read() == data
    assert [entry.path for entry in changed] == [entry.path for entry in linked]
