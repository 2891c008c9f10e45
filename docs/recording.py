#!/usr/bin/env python3
"""Record the README's terminal: `docs/recording.py`, where `buildimages build base helio` has nothing left to make.

Each command is run for real; what it says, and when, becomes `img/terminal.svg`, a picture that plays once and needs no
player. Who asks for less motion sees its end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "img" / "terminal.svg"
#: What a picture of a README may weigh, in bytes.
MOST = 100_000
COMMANDS = ("build base helio", "delta base helio", "report --weight helio")
COLUMNS, ROWS = 100, 24
#: Of a command's output that many lines are shown.
SHOWN = 20
#: Seconds: to type a letter, before a command runs, and before the next is typed.
LETTER, BEFORE, AFTER = 0.045, 0.4, 1.6
WIDTH, LINE, MARGIN = 8.0, 18, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line and the second at which it is there; ``typed`` is the time that its typing takes, 0 for output."""

    text: str
    at: float
    typed: float = 0.0


def recorded(commands: tuple[str, ...]) -> list[Line]:
    """Run commands and return what a terminal shows."""
    lines: list[Line] = []
    now = 0.6
    for words in commands:
        shown = f"$ buildimages {words}"
        typed = LETTER * len(shown)
        lines.append(Line(text=shown, at=now, typed=typed))
        now += typed + BEFORE
        said = ran(words)
        kept = said[:SHOWN]
        lines += [Line(text=text, at=now + after) for after, text in kept]
        now += (said[-1][0] if said else 0) + AFTER
        if len(said) > len(kept):
            lines.append(Line(text=f"… {len(said) - len(kept)} more lines", at=now - AFTER))
        lines.append(Line(text="", at=now - AFTER))
    return lines


def ran(words: str) -> list[tuple[float, str]]:
    """Return the lines that a command prints, each with the seconds since it began."""
    start = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "tools" / "buildimages.py"), *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": str(COLUMNS)},
    ) as process:
        assert process.stdout is not None
        said = [(time.monotonic() - start, line.rstrip("\n")) for line in process.stdout]
    if process.returncode:
        sys.exit("\n".join(text for _, text in said))
    # A picture that people pull must not tell of this machine.
    if told := [text for _, text in said if re.search(r"(?<![\w.])/(?:root|home|work|tmp|var|run)\b", text)]:
        sys.exit(f"a line names a path of this machine: {told[0]}")
    return said


def picture(lines: list[Line]) -> str:
    """Return the recording as an SVG: lines appear in their time, and the text moves up when the screen is full."""
    width, height = round(COLUMNS * WIDTH + 2 * MARGIN), ROWS * LINE + 2 * MARGIN
    last = lines[-1].at + AFTER
    # Where the text stands from a time on, as a share of the whole.
    steps = {0.0: 0}
    for number, line in enumerate(lines, 1):
        if number > ROWS:
            steps[round(100 * line.at / last, 2)] = (number - ROWS) * LINE
    frames = "".join(f"{share:g}%{{transform:translateY(-{up}px)}}" for share, up in steps.items())
    end = max(steps.values())
    rows = []
    for number, line in enumerate(lines):
        if not line.text:
            continue
        y = MARGIN + LINE * number + 13
        text = escape(line.text[: COLUMNS - 1] + "…" if len(line.text) > COLUMNS else line.text, quote=False)
        kind = ' class="c"' if line.typed else ""
        when = f"animation-delay:{line.at:.2f}s"
        if line.typed:
            when += f";animation-duration:{line.typed:.2f}s;animation-timing-function:steps({len(line.text)})"
        rows.append(f'<text{kind} x="{MARGIN}" y="{y}" style="{when}">{text}</text>')
    told = ", ".join(f"buildimages {words}" for words in COMMANDS)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>A terminal: {told}</title>
<style>
text{{font:13.3px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;white-space:pre}}
text{{fill:#d8dee9;animation:s .01s both}}
.c{{fill:#f5b35c;animation-name:t}}
@keyframes s{{from{{opacity:0}}}}
@keyframes t{{from{{clip-path:inset(0 100% 0 0)}}to{{clip-path:inset(0 0 0 0)}}}}
@keyframes u{{{frames}}}
.u{{transform:translateY(-{end}px);animation:u {last:.2f}s step-end}}
@media(prefers-reduced-motion:reduce){{text,.u{{animation:none}}}}
</style>
<rect width="100%" height="100%" rx="10" fill="#12151c"/>
<svg y="{MARGIN / 2:g}" width="{width}" height="{height - MARGIN}"><g class="u">
{chr(10).join(rows)}
</g></svg>
</svg>
"""


def main() -> None:
    """Record, and refuse a picture that is too heavy."""
    text = picture(recorded(COMMANDS))
    if len(text.encode()) > MOST:
        sys.exit(f"expected at most {MOST:,} bytes not {len(text.encode()):,}")
    OUT.write_text(text, "utf-8")
    print(f"{OUT.name}: {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
