"""Nobody asks an engine for lists in a way that fails when another program removes something meanwhile."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import engine_lists
import pytest

ROOT = Path(__file__).parents[3]


def racing(tree: ast.AST) -> list[int]:
    """Return the lines that list images one by one, or containers that must all stay."""
    return [
        call.lineno
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "list"
        and isinstance(call.func.value, ast.Attribute)
        and (
            call.func.value.attr == "images"
            or (call.func.value.attr == "containers" and "ignore_removed" not in {word.arg for word in call.keywords})
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        "client.images.list()",
        "[image for image in self.engine.client.images.list('x')]",
        "client.containers.list(all=True)",
    ],
)
def test_a_list_that_races_is_seen(text):
    assert racing(ast.parse(text)) == [1]


def test_no_list_races():
    paths = [path for folder in ("tools", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 500
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}
    # What has no such word is not parsed: a second, not three.
    lines = {path: racing(ast.parse(text)) for path, text in texts.items() if ".list(" in text}
    assert len(lines) > 5
    assert {path: told for path, told in lines.items() if told} == {}


def test_names_and_ids_come_of_one_answer():
    """The engine says null for an image that has no name."""
    told = [
        {"Id": "sha256:a", "RepoTags": ["x:1"], "RepoDigests": ["x@sha256:b"]},
        {"Id": "sha256:c", "RepoTags": None, "RepoDigests": []},
    ]
    asked = []
    client = SimpleNamespace(api=SimpleNamespace(images=lambda name: asked.append(name) or told))
    assert engine_lists.image_names(client) == {"x:1", "x@sha256:b"}
    assert engine_lists.image_ids(client, "x") == {"sha256:a", "sha256:c"}
    assert asked == [None, "x"]
