"""The fenced blocks of README.md, docs/ and other notes: what is in them, and what the text says becomes of them.

Above a block stands nothing, a comment (`<!-- run: … -->`, `<!-- file: … -->`) or a paragraph (*Not run: REASON.*).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
# Read beside the site: their commands are looked at, none is run.
NOTES = tuple(
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "channel", "environments/*")
    for path in sorted(ROOT.glob(f"{folder}/README.md"))
)
_COMMENT = re.compile(r"<!-- (run|file): (.+?) -->\s*")
# Of the shell's grammar; what follows is a command.
_WORDS = ("do", "done", "then", "else", "fi", "if", "while")
_NOT_RUN = re.compile(r"\*Not run(?: here)?: (.+)\.\*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block.

    Attributes:
        line: of the fence, counted from 1.
        language: the fence's first word; empty for an indented block.
        run: what the comment above says about running it.
        file: the path that the comment above gives it.
        reason: why it is not run.
    """

    page: str
    line: int
    language: str
    text: str
    run: str = ""
    file: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        """Where it is, e.g. ``docs/trust.md:12``."""
        return f"{self.page}:{self.line}"


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in its order."""
    above: dict[str, str] = {}
    for token in MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text("utf-8")):
        if token.type == "html_block" and (match := _COMMENT.fullmatch(token.content)):
            above[match[1]] = match[2]
        elif token.type == "inline" and (match := _NOT_RUN.fullmatch(token.content)):
            above["reason"] = match[1]
        elif token.type in ("fence", "code_block"):
            yield Block(
                page=page,
                line=token.map[0] + 1,
                language=token.info.strip().split(" ")[0],
                text=token.content,
                run=above.get("run", ""),
                file=above.get("file", ""),
                reason=above.get("reason", ""),
            )
            above = {}
        elif token.type not in ("paragraph_open", "paragraph_close"):
            above = {}


def inline_code(page: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the code spans of a page."""
    for token in MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text("utf-8")):
        for child in token.children or ():
            if child.type == "code_inline":
                yield (token.map or [0])[0] + 1, child.content


def commands(text: str) -> list[list[str]]:
    """Return the simple commands of a shell text as words, without assignments and comments."""
    lines: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()")
        # A `#` inside a word is no comment.
        lexer.whitespace_split, lexer.commenters = True, ""
        now: list[str] = []
        lines.append(now)
        for word in lexer:
            if word.startswith("#"):
                break
            if set(word) <= set("|&;()"):
                now = []
                lines.append(now)
            elif now or not (word in _WORDS or re.match(r"[A-Za-z_]\w*=", word)):
                now.append(word)
    return [words for words in lines if words and words[0] != "for"]
