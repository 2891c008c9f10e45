#!/usr/bin/env python3
"""buildimages: locked environments to container images. This file is the table of contents, one line a verb.

A verb `x` is the function `x` in helioimages/verbs/x.py, which is imported when it is called (`import` is import_).
"""

# No newer syntax here and in bootstrap, which looks at the version first: an old Python must get as far as that.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

VERBS = {
    "Make images": {
        "import": "Make an environment of another tool's file: conda, pixi, uv, pip.",
        "lock": "Resolve environments and pin every byte.",
        "render": "Write the images' Dockerfiles, or prove them.",
        "build": "Build images from their locks.",
        "smoke": "Run the smoke notebooks inside images.",
        "run": "Start an image on this machine and print its address.",
        "context": "Lay out a folder for a plain `docker build`.",
        "extend": "Put a Binder-ready repository on top of a published image.",
    },
    "Publish": {
        "publish": "Push by digest, run the notebooks in that digest, then tag.",
        "up": "The whole main job: set up this machine, build, test and publish.",
    },
    "Choose": {
        "catalogue": "Make a site of a registry's images to choose a tag from.",
        "delta": "Say what a node that has image A must pull for image B, and why.",
        "hub": "Start a JupyterHub on this machine with the published images.",
        "profiles": "Write a hub's choices of images and sizes.",
    },
    "Prove": {
        "cite": "Cite the software in an image, or what a notebook imports of it.",
        "verify": "Check a published image, and that this checkout builds its bytes.",
        "audit": "Match the locks with security advisories.",
        "changed": "Say which images' inputs changed since a git revision, and why.",
    },
    "Help": {
        "doctor": "Say what this machine has and lacks, and the command that mends it.",
        "channel": "Compile the local conda channel and print its folder.",
        "prune": "Remove from the store what no lock of this checkout asks for.",
        "down": "Stop the hub, the registry and the engine that this project started.",
    },
}


def main() -> None:
    """Run the verb that the command line names."""
    # Worker processes import this file too, and need none of this.
    try:
        from helioimages.machine import bootstrap

        bootstrap.ensure()
        from helioimages.verbs.command import program

        # Usage lines, hints and shell completion know the tool by the name that the documentation uses.
        program(VERBS)(prog_name="buildimages")
    except KeyboardInterrupt:
        if "--json" in sys.argv:
            # The line of helioimages.verbs.errors, which was not yet imported.
            print(
                '{"error": {"stage": "interrupted", "code": 130, "message": "interrupted", "where": "", "detail": "", '
                '"hint": "the next run goes on from here"}}',
                file=sys.stderr,
            )
        else:
            print("interrupted; the next run goes on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
