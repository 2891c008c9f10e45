"""What a notebook imports, wherever it stands; files beside it are followed, other languages refused."""

from __future__ import annotations

import json

import pytest

from helioimages.cite.imports import of_notebook
from helioimages.core.errors import HelioError


def notebook(*cells: str, language: str = "python") -> str:
    rows = [{"cell_type": "code", "source": cell} for cell in cells]
    return json.dumps({"cells": rows, "metadata": {"kernelspec": {"language": language}}})


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("import numpy as np, os, json", {"numpy"}),
        ("from sunpy import map", {"sunpy.map"}),
        ("def f():\n    try:\n        from astropy.io import fits\n    except ImportError: pass", {"astropy.io.fits"}),
        ("from . import x\nfrom .y import z", set()),
        ("import importlib\nimportlib.import_module('spacepy.coordinates')", {"spacepy.coordinates"}),
        ("%matplotlib inline\n%load_ext fortranmagic\nx = %time 1\n!pip list", {"matplotlib", "fortranmagic"}),
        ("if 1:\n    %time f()\n    import dask", {"dask"}),
        ("%%time\nimport dask", {"dask"}),
        ("%%bash\nimport dask", set()),
        ("# import dask\n'import dask'", set()),
        ("import numpy\nthis is no Python", {"numpy"}),
        ("numpy?\nimport numpy", {"numpy"}),
    ],
)
def test_a_cell(cell, names):
    assert of_notebook(notebook(cell), "a.ipynb") == names


def test_files_beside_it_are_followed_and_are_not_named():
    beside = {"mine.py": "import astropy, other", "other.py": "import mine, numpy", "pack/__init__.py": "import dask"}
    names = of_notebook(notebook("import mine", "from pack import x"), "a.ipynb", beside.get)
    assert names == {"astropy", "numpy", "dask"}


def test_lines_of_a_cell_may_be_a_list():
    text = json.dumps({"cells": [{"cell_type": "code", "source": ["import nu", "mpy"]}, {"cell_type": "raw"}]})
    assert of_notebook(text, "a.ipynb") == {"numpy"}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}'])
def test_what_is_no_notebook(text):
    with pytest.raises(HelioError, match=r"`a\.ipynb` is not a notebook"):
        of_notebook(text, "a.ipynb")


def test_another_language_is_refused():
    with pytest.raises(HelioError, match="is a notebook of gdl"):
        of_notebook(notebook("x = 1", language="gdl"), "a.ipynb")
