"""Words for platforms are `core.platform`'s: no other module of the code spells one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from helioimages.core.platform import FIRST, SUBDIRS, Platform

PACKAGE = Path(__file__).parents[3] / "tools" / "helioimages"
WORD = re.compile(r"linux/(?:amd64|arm64)|(?:linux|osx|win)-(?:64|aarch64|arm64)|amd64|arm64|x86_64|aarch64")
#: Reviewed: module -> why it has words of its own.
OWN = {
    "core/platform.py": "where they are",
    "spec/selectors.py": "conda-lock's selectors, those of other systems among them",
    "conda/metadata.py": "what packages of any channel say of themselves",
    "pypi/choose.py": "wheels before PEP 600 were of one processor",
}


def spelt(tree: ast.AST) -> set[str]:
    """Return the texts of a module, but for its documentation, that are a platform in some ecosystem's words."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents
        if WORD.fullmatch(node.value)
    }


def test_no_module_has_a_word_of_its_own():
    texts = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    words = {path: spelt(ast.parse(text)) for path, text in texts.items() if WORD.search(text)}
    assert {path: told for path, told in words.items() if told and path not in OWN} == {}
    assert {path for path in OWN if not words.get(path)} == set()


def test_the_first_platform_is_one_that_images_can_be_made_for():
    assert Platform.of(str(FIRST)) == FIRST
    assert (FIRST.subdir in SUBDIRS, FIRST.debian) == (True, FIRST.architecture)


def test_a_platform_is_passed_as_the_value():
    """The text of one is read where it comes in, by `verbs.command`, and written where it goes out."""
    texts = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if "platform: str" in path.read_text("utf-8")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None
        if (node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)) == "platform"
        if ast.unparse(node.annotation) == "str" and path.name != "command.py"
    ]
    assert texts == []
