"""How packages are called where they are imported, by the files of their wheels."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from helioimages.cite import modules
from helioimages.machine.store import Store
from helioimages.pypi.lock import Wheel


@pytest.mark.parametrize(
    ("name", "files", "told"),
    [
        ("scikit-learn", ("sklearn/__init__.py", "scikit_learn-1.dist-info/METADATA"), "sklearn"),
        ("opencv-python", ("cv2/__init__.py", "cv2/cv2.abi3.so", "opencv_python.libs/x.so"), "cv2"),
        ("pyyaml", ("yaml/__init__.py", "_yaml/__init__.py"), "yaml"),
        ("demo", ("demo/__init__.py", "tests/__init__.py", "setup.py"), None),
        ("my-demo", ("my_demo.py",), None),
        ("moved", ("moved-1.data/purelib/there.py",), "there"),
    ],
)
def test_what_is_not_the_name(tmp_path, name, files, told):
    store = Store(tmp_path)
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.writestr(file, "")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    wheel = Wheel(name=name, version="1", file_name="x.whl", sha256=sha256, size=1)
    assert modules.of_wheels([wheel], store) == {}, "its file is not here"
    store.artefact(sha256).parent.mkdir(parents=True, exist_ok=True)
    store.artefact(sha256).write_bytes(path.read_bytes())
    expected = {} if told is None else {name: told}
    assert modules.of_wheels([wheel], store) == expected
    # Remembered, also of what is gone since.
    store.artefact(sha256).unlink()
    assert modules.of_wheels([wheel], store) == expected
