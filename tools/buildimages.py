#!/usr/bin/env python3
"""buildimages: locked environments to container images. This file is the table of contents, one line a verb.

A verb `x` is the function `x` in helioimages/verbs/x.py, which is imported when it is called (`import` is import_).
"""

# No newer syntax here and in bootstrap, which looks at the version first: an old Python must get as far as that.
# And nothing is imported that takes milliseconds: where Ctrl-C came then, Python would show it.
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

VERBS = {
    "Make images": {
        "import": "Make an environment of another tool's file: conda, pixi, uv, pip.",
        "lock": "Resolve environments and pin every byte.",
        "render": "Write the images' Dockerfiles, or prove them.",
        "build": "Build images from their locks.",
        "smoke": "Run the smoke notebooks inside images.",
        "run": "Start an image on this machine and print its address.",
        "devcontainer": "Write the file by which an editor works in an image.",
        "context": "Lay out a folder for a plain `docker build`.",
        "extend": "Put a Binder-ready repository on top of a published image.",
    },
    "Publish": {
        "publish": "Push by digest, run the notebooks in that digest, then tag.",
        "up": "The whole main job: set up this machine, build, test and publish.",
        "publish-work": "Publish a team's notebooks with what they give in an image.",
        "set-doi": "Write the DOI of a published work into its documents.",
        "restore": "Run a published work again in its image, and compare.",
    },
    "Choose": {
        "catalogue": "Make a site of a registry's images to choose a tag from.",
        "delta": "Say what a node that has image A must pull for image B, and why.",
        "report": "Say what an image weighs, and which packages are the reason.",
        "hub": "Start a JupyterHub on this machine with the published images.",
        "hub-check": "Say which of a hub's images are old, yanked or vulnerable.",
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
        import signal

        # bootstrap holds Ctrl-C back while it starts another Python, which would show where it came.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Until a verb runs: what is raised in the middle of an import may be lost there, or come out as a fault.
            signal.signal(signal.SIGINT, _end)
        from helioimages.machine import bootstrap

        bootstrap.ensure()
        from helioimages.verbs.command import program

        # Usage lines, hints and shell completion know the tool by the name that the documentation uses.
        program(VERBS)(prog_name="buildimages")
    except KeyboardInterrupt:
        _end()
    except SystemExit as end:
        if end.code == 130:
            _leave()
        raise


def _end(*_signal: object) -> None:
    """Tell of Ctrl-C, as helioimages.verbs.errors does, which may not be imported yet, and end."""
    said = "interrupted; the next run goes on from here"
    if "--json" in sys.argv:
        said = (
            '{"error": {"stage": "interrupted", "code": 130, "message": "interrupted", "where": "", "detail": "", '
            '"hint": "the next run goes on from here"}}'
        )
    os.write(2, said.encode() + b"\n")
    os._exit(130)


def _leave() -> None:
    """End an interrupted process whose threads wait for somebody else: Python would wait for them."""
    import threading
    import time

    # What can end does, and takes its files with it.
    deadline = time.monotonic() + 3
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    if threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)


if __name__ == "__main__":
    main()
