"""What a registry gives may be anything: one bad document is told, and stops nobody else's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from helioimages.catalogue import read
from helioimages.core.digest import of_bytes
from helioimages.core.errors import HelioError, Stage
from helioimages.machine.store import Store


@pytest.mark.parametrize("data", [b"[]", b"{", b"3", b'{"mediaType": 3}'])
def test_a_kept_document_that_is_no_manifest_is_left_out(tmp_path, data):
    """A chart or another artifact: those of the stage `build` are left out with a warning."""
    store = Store(tmp_path)
    store.put_blob(data)
    source = SimpleNamespace(store=store)
    with pytest.raises(HelioError) as caught:
        read._document(source, "org/base", of_bytes(data))
    assert caught.value.stage is Stage.BUILD
    assert "org/base@sha256:" in caught.value.where
