"""Which CUDA an environment brings, what it asks of a driver, and what an image says of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.locks import cuda
from helioimages.locks import read as locks
from helioimages.machine.checkout import load_environments, load_images
from helioimages.make import labels

ROOT = Path(__file__).parents[3]
FILE = "environments/x/environment.yml"
THIRTEEN = [("nvidia-cuda-runtime", "13.2.86"), ("nvidia-cudnn-cu13", "9.26.0.51"), ("jax-cuda13-plugin", "0.12.0.1")]


def find(packages, declared="13.0"):
    return cuda.find(packages, declared=declared, where=FILE)


def fault(packages, declared="13.0") -> HelioError:
    with pytest.raises(HelioError) as caught:
        find(packages, declared)
    assert caught.value.stage == Stage.LOCK
    return caught.value


def test_the_runtime_says_the_version_and_the_table_the_driver():
    assert find(THIRTEEN) == cuda.Cuda(version="13.2", driver="580")
    assert find([("nvidia-cuda-runtime-cu12", "12.8.90")], "12.4") == cuda.Cuda(version="12.8", driver="525")


def test_a_library_for_cuda_alone_is_no_cuda():
    # XGBoost brings NCCL wherever it is.
    assert find([("xgboost", "3.4.1"), ("nvidia-nccl-cu13", "2.30.7")], None) is None
    assert find([], "13.0") is None


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ("nvidia-cudnn-cu12", "nvidia-cudnn-cu12"),
        ("cupy-cuda12x", "cupy-cuda12x"),
        ("jax-cuda12-pjrt", "jax-cuda12-pjrt"),
    ],
)
def test_two_majors_are_refused(other, name):
    error = fault([*THIRTEEN, (other, "1")])
    assert (error.message, error.where) == ("packages for more than one CUDA major", FILE)
    assert error.detail == (f"CUDA 12: {name}\nCUDA 13: jax-cuda13-plugin, nvidia-cuda-runtime, nvidia-cudnn-cu13")


@pytest.mark.parametrize(
    ("declared", "detail"),
    [
        (None, "expected a version of CUDA 13, found nothing of the kind"),
        ("12.8", "expected a version of CUDA 13, not '12.8'"),
    ],
)
def test_the_environment_says_what_it_asks_of_a_node(declared, detail):
    error = fault(THIRTEEN, declared)
    assert (error.message, error.where) == (
        "the packages bring CUDA 13.2",
        f"{FILE} at x-helioimages.virtual-packages.__cuda",
    )
    assert (error.detail, error.hint) == (detail, 'write `__cuda: "13.0"`')


def test_a_major_that_is_too_new():
    error = fault([("nvidia-cuda-runtime", "14.0.1")], "14.0")
    assert (error.message, error.detail) == (
        "the oldest driver for CUDA 14 is not known",
        "expected one of CUDA 11, 12, 13, not 14",
    )


def test_the_image_for_machine_learning_says_its_cuda_and_the_others_have_none():
    images, environments = load_images(ROOT), load_environments(ROOT)
    said = {}
    for name, image in images.items():
        lock = locks.load(ROOT, images, name)
        said_of_image = labels.labels(image, lock, environments[image.environment])
        said[name] = [said_of_image.get("io.helioimages.cuda"), said_of_image.get("io.helioimages.cuda.driver")]
        if name == "ml-gpu":
            assert said[name] == [lock.version_of("nvidia-cuda-runtime").rpartition(".")[0], "580"]
    assert {name for name, values in said.items() if values != [None, None]} == {"ml-gpu"}


@pytest.mark.parametrize(
    ("line", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07  Wed Aug 27 17:51:33 UTC 2025", "580"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  615.71  Release Build  (dvs)  Fri Sep", "615"),
    ],
)
def test_the_image_reads_the_driver_as_the_kernel_writes_it(line, driver):
    script = (ROOT / "images/ml-gpu/files/srv/start.d/gpu.sh").read_text()
    expression = script.partition("sed -n '")[2].partition("'")[0]
    done = subprocess.run(["sed", "-n", expression], input=line + "\n", capture_output=True, text=True, check=True)
    assert done.stdout == driver + "\n"
