"""Reviewed patches of wheels: to the letter or not at all, and RECORD says so."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helioimages.core.errors import HelioError
from helioimages.pypi import patching
from helioimages.pypi.wheel import link

SITE = "srv/conda/envs/notebook/lib/python3.13/site-packages"
NAME = "environments/x/patches/demo.patch"
BEFORE = b"import imp\nx = 1\n\ny = imp\n"
DIFF = b"""\
Words for people.
diff --git a/demo/a.py b/demo/a.py
index 1..2 100644
--- a/demo/a.py
+++ b/demo/a.py\t2026-11-29
@@ -1,2 +1,2 @@ head
-import imp
+import importlib
 x = 1
@@ -4 +4,2 @@
-y = imp
+y = importlib
+z = 2
--- /dev/null
+++ b/demo/data/new.txt
@@ -0,0 +1,2 @@
+one
+two
\\ No newline at end of file
"""


def after(entries, diff=DIFF):
    return {entry.path.removeprefix(f"{SITE}/"): entry for entry in patching.apply(entries, diff, NAME, "demo-1.0")}


def refused(entries, diff) -> HelioError:
    with pytest.raises(HelioError) as caught:
        patching.apply(entries, diff, NAME, "demo-1.0")
    return caught.value


@pytest.fixture
def entries(make_wheel):
    path, record = make_wheel({"demo/a.py": BEFORE, "demo/b.py": b"b\r\nc"})
    return link(path, record)


def test_files_are_changed_and_added_and_record_says_so(entries):
    entries_after = after(entries)
    contents = {path: entry.content.read() for path, entry in entries_after.items()}
    assert contents["demo/a.py"] == b"import importlib\nx = 1\n\ny = importlib\nz = 2\n"
    assert contents["demo/data/new.txt"] == b"one\ntwo"
    assert (entries_after["demo/data/new.txt"].mode, entries_after["demo/data/new.txt"].origin) == (0o644, "demo-1.0")
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(contents["demo-1.0.dist-info/RECORD"].decode()))}
    assert rows.pop("demo-1.0.dist-info/RECORD") == ["", ""]
    assert set(rows) == set(contents) - {"demo-1.0.dist-info/RECORD"}
    for path, (told, size) in rows.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(contents[path]).digest()).decode().rstrip("=")
        assert (told, size) == (f"sha256={digest}", str(len(contents[path])))
        assert entries_after[path].content.sha256 in ("", hashlib.sha256(contents[path]).hexdigest())


def test_what_is_not_named_stays_as_it_is(entries):
    before = {entry.path: entry for entry in entries}
    changed = {f"{SITE}/demo/a.py", f"{SITE}/demo/data/new.txt", f"{SITE}/demo-1.0.dist-info/RECORD"}
    for path, entry in after(entries).items():
        assert f"{SITE}/{path}" in changed or before[f"{SITE}/{path}"] is entry


@pytest.mark.parametrize(
    ("old", "new", "where", "detail"),
    [
        (b" x = 1", b" x = 2", "at line 6, file demo/a.py", "line 2: expected 'x = 2\\n' not 'x = 1\\n'"),
        # It would fit a line lower or higher, with an offset.
        (b"-1,2 +1,2", b"-2,2 +2,2", "at line 6, file demo/a.py", "line 2: expected 'import imp\\n' not 'x = 1\\n'"),
        (b"@@ -4 +4,2", b"@@ -9 +9,2", "at line 10, file demo/a.py", "line 9: expected 'y = imp\\n' not ''"),
        (b"demo/a.py", b"demo/c.py", ", file demo/c.py", "there is no such file"),
        (b"demo/data/new.txt", b"demo/b.py", ", file demo/b.py", "it is there already, and the patch adds it"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(entries, old, new, where, detail):
    error = refused(entries, DIFF.replace(old, new))
    assert error.message == "a patch does not fit `demo-1.0`"
    assert error.where == f"{NAME} {where}" if where.startswith("at") else error.where == NAME + where
    assert error.detail == detail


@pytest.mark.parametrize(
    ("diff", "line", "detail"),
    [
        (b"", 1, "expected a unified diff"),
        (b"only words\n", 1, "expected a unified diff, found 'only words\\n'"),
        (DIFF.replace(b"index 1..2", b"rename from x"), 3, "changed and added text files only"),
        (DIFF.replace(b"index 1..2", b"deleted file mode"), 3, "changed and added text files only"),
        (DIFF.replace(b"index 1..2", b"old mode"), 3, "changed and added text files only"),
        (DIFF.replace(b"+++ b/demo/a.py", b"+++ b/demo/b.py"), 4, "of one PATH"),
        (DIFF.replace(b"+++ b/demo/a.py", b"+++ /dev/null"), 4, "of one PATH"),
        (DIFF.replace(b"/demo/a.py", b"/../a.py"), 5, "the package's own files"),
        (DIFF.replace(b"/demo/a.py", b"//etc/a.py"), 5, "the package's own files"),
        (DIFF.replace(b"/demo/a.py", b"/demo-1.0.dist-info/RECORD"), 5, "the package's own files"),
        (DIFF.replace(b"-1,2 +1,2", b"-1,3 +1,2"), 10, "expected a line with a space, - or + before it"),
        (DIFF.replace(b" x = 1", b"x = 1"), 9, "expected a line with a space, - or + before it"),
        (
            DIFF[: DIFF.index(b"--- /dev")].replace(b"+4,2", b"+4,3"),
            10,
            "expected 1 old and 3 new lines, found 1 and 2",
        ),
        (DIFF[: DIFF.index(b"@@ -1,2")], 4, "expected hunks of demo/a.py"),
        (DIFF.replace(b"b/demo/data/new.txt", b"b/demo/a.py"), 14, "expected demo/a.py once"),
        (DIFF + DIFF[DIFF.index(b"@@ -1,2") :], 14, "expected one hunk of demo/data/new.txt"),
        (DIFF[DIFF.index(b"@@ -1,2") :], 1, "expected `---` and `+++` before it"),
    ],
)
def test_what_is_no_patch_of_ours_is_refused(entries, diff, line, detail):
    error = refused(entries, diff)
    assert error.message == "a patch cannot be read"
    assert (error.where, detail in error.detail) == (f"{NAME} at line {line}", True), error.detail


def test_hunks_out_of_order_are_refused(entries):
    upper, other = b"@@ -1,2 +1,2 @@ head\n-import imp\n+import importlib\n x = 1\n", b"@@ -2 +2 @@\n-x = 1\n+x = 2\n"
    head = b"--- a/demo/a.py\n+++ b/demo/a.py\n"
    assert refused(entries, head + upper + other).where == f"{NAME} at line 7, file demo/a.py"
    assert refused(entries, head + other + upper).message == "a patch does not fit `demo-1.0`"


LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"\r\n", b" x\r\n", b"-- y\n"]), max_size=12)


@pytest.mark.skipif(not shutil.which("diff"), reason="needs diff")
@settings(max_examples=60, deadline=None)
@given(old=LINES, new=LINES, ends=st.tuples(st.booleans(), st.booleans()))
def test_what_diff_writes_gives_the_new_file(tmp_path_factory, old, new, ends):
    """The law: patch(old, diff(old, new)) == new, whatever lines there are and whether the last one ends."""
    folder = tmp_path_factory.mktemp("diff")
    data = [b"".join(lines) + (b"" if end else b"last") for lines, end in zip((old, new), ends, strict=True)]
    if data[0] == data[1]:
        return
    for name, text in zip(("a", "b"), data, strict=True):
        (folder / name / "demo").mkdir(parents=True)
        (folder / name / "demo" / "a.py").write_bytes(text)
    diff = subprocess.run(["diff", "-u", "a/demo/a.py", "b/demo/a.py"], cwd=folder, capture_output=True).stdout
    (change,) = patching.parse(diff, NAME)
    assert patching.changed(data[0], change, NAME, "demo-1.0") == data[1]
