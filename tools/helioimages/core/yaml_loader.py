"""How YAML is loaded: by PyYAML, with the tabs that it forgets, no deep nesting, and no key twice."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

#: Far more than any document for people or tools has.
_DEEPEST = 100
#: Blanks before a comment, a line's end or the end.
_NOTHING = re.compile("[ \t]*[#\r\n\x85\u2028\u2029\0]")


class YamlLoader(yaml.SafeLoader):
    """PyYAML's loader, to which tabs separate as spaces do, but for indentation.

    libyaml takes some of them too, but ends the process where a document is nested deeply. PyYAML looks ahead from each
    bracket for the end of a key, so that it needs a second for a thousand of them: so many are refused before.

    Spec: YAML 1.2, section 6.2, separation spaces.
    """

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:
        """Take a bracket or a brace."""
        if self.flow_level == _DEEPEST:
            raise yaml.scanner.ScannerError(
                problem=f"expected at most {_DEEPEST} brackets and braces in each other",
                problem_mark=self.get_mark(),
            )
        super().fetch_flow_collection_start(TokenClass)

    def scan_to_next_token(self) -> None:
        """Skip blanks, comments and line breaks."""
        super().scan_to_next_token()
        while self.peek() == "\t" and self._separates():
            while self.peek() in " \t":
                self.forward()
            super().scan_to_next_token()

    def _separates(self) -> bool:
        """Return whether the blanks here are more than indentation: something is before them, or nothing after."""
        before = self.buffer[self.pointer - self.column : self.pointer]
        return bool(before.strip(" \t")) or bool(_NOTHING.match(self.buffer, self.pointer))


class StrictLoader(YamlLoader):
    """The loader of what is read here: times are text, and a key that is there twice is an error, as YAML has it."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(
                problem="a list or a mapping as a key", problem_mark=key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(problem=f"duplicate key {key!r}", problem_mark=key_node.start_mark)
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# No document of ours has times that are not meant as text.
StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
