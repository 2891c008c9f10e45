"""Drive the fuzzers: ``python -m fuzzkit.drive --seconds 60 [--only NAME] [--atheris]``.

Each target is a hypothesis test that takes its choices from bytes: random ones for a time, or those that atheris finds
to lead to new lines of the parsers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from hypothesis import HealthCheck, Phase, given, settings

from helioimages.core.errors import HelioError

from .edits import Target
from .targets import buffers, targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one target was given: ``refused`` with a HelioError, ``accepted`` without."""

    name: str
    inputs: int
    refused: int
    accepted: int
    seconds: float


class Escaped(Exception):
    """Something other than a HelioError came out of a parser."""


def one_input(target: Target, seen: Callable[[bool], None]) -> Callable[[bytes], object]:
    """Return a function that turns bytes into one broken input and feeds it."""

    @settings(database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def case(data: bytes) -> None:
        try:
            target.feed(data)
        except HelioError:
            seen(True)
        except Exception as error:
            raise Escaped(f"{target.name}: {type(error).__name__}: {error} from {data!r}") from error
        else:
            seen(False)

    return case.hypothesis.fuzz_one_input


def drive(target: Target, *, seconds: float, seed: int) -> Figures:
    """Feed a target for a time.

    Raises:
        Escaped: the first input that a parser does not refuse by name.
    """
    counts = {True: 0, False: 0}

    def seen(refused: bool) -> None:
        counts[refused] += 1

    feed = one_input(target, seen)
    begun = time.monotonic()
    for buffer in buffers(seed):
        feed(buffer)
        if time.monotonic() - begun > seconds:
            break
    return Figures(
        name=target.name,
        inputs=counts[True] + counts[False],
        refused=counts[True],
        accepted=counts[False],
        seconds=round(time.monotonic() - begun, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzzkit.drive")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="a target's name; needed with --atheris")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage; runs one target, until --seconds")
    options = parser.parse_args()
    chosen = [target for target in targets() if options.only in ("", target.name)]
    if not chosen:
        parser.error(f"no target is named {options.only!r}")
    if options.atheris:
        import atheris

        atheris.instrument_all()
        atheris.Setup(
            ["fuzz", f"-max_total_time={int(options.seconds)}", f"-seed={options.seed}", "-max_len=1024"],
            one_input(chosen[0], lambda _refused: None),
        )
        atheris.Fuzz()
    escaped = []
    for target in chosen:
        try:
            print(json.dumps(asdict(drive(target, seconds=options.seconds, seed=options.seed))), flush=True)
        except Escaped as error:
            escaped.append(str(error))
            print(f"ESCAPED {error}"[:2000], file=sys.stderr, flush=True)
    sys.exit(1 if escaped else 0)


if __name__ == "__main__":
    main()
