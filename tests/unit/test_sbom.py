"""Licences, owners and provenance, without an image."""

from __future__ import annotations

import subprocess

import pytest

from helioimages import provenance, sbom, sbom_files


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: BSD-3-Clause\nLicense: other\n", "BSD-3-Clause"),
        ("License: MIT\n", "MIT"),
        ("License: " + "x" * 101 + "\nClassifier: License :: OSI Approved :: MIT License\n", "MIT License"),
        ("Name: a\n", ""),
    ],
)
def test_the_licence_of_a_wheel(metadata, licence):
    assert sbom.wheel_licence(metadata) == licence


def test_only_whole_expressions_are_expressions():
    def expression(text: str) -> str:
        return sbom.Component(kind="wheel", name="a", version="1", licence=text).expression

    assert [expression(one) for one in ("mit or apache-2.0", "MIT License", "LicenseRef-x", "")] == [
        "MIT OR Apache-2.0",
        "",
        "",
        "",
    ]


def test_dpkg_lists_and_copyright_files():
    assert sbom_files.listed("/.\n/lib/x\n/usr/bin/y\n/etc/lib/z\n") == ("usr/lib/x", "usr/bin/y", "etc/lib/z")
    head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
    assert sbom_files.licence_names(head + "License: GPL-2+\n text\nLicense: MIT\nLicense: MIT\n") == ("GPL-2+", "MIT")
    assert sbom_files.licence_names("License: GPL\n") == ()


def test_the_commit_says_whether_the_checkout_was_clean(tmp_path):
    assert provenance.commit_of(tmp_path) == ""

    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    head = git("rev-parse", "HEAD")
    assert provenance.commit_of(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert provenance.commit_of(tmp_path) == head + "-dirty"
