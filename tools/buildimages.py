#!/usr/bin/env python3
"""buildimages: locked environments to container images. This file is the table of contents, one function a verb."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from helioimages import bootstrap

bootstrap.ensure()

from helioimages.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
