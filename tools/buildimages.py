#!/usr/bin/env python3
"""buildimages: locked environments to container images. This file is the table of contents, one function a verb."""

# No newer syntax here and in bootstrap, which looks at the version first: an old Python must get as far as that.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from helioimages.machine import bootstrap

bootstrap.ensure()


def main() -> None:
    """Run the verb that the command line names."""
    # Worker processes import this file too, and need none of the verbs: 2 seconds each.
    from helioimages.verbs.cli import main as verbs

    # Usage lines, hints and shell completion know the tool by the name that the documentation uses.
    verbs(prog_name="buildimages")


if __name__ == "__main__":
    main()
