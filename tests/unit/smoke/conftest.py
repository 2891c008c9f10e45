from __future__ import annotations

from pathlib import Path

import pytest
from smoke_support import checkout_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return checkout_of(tmp_path)
