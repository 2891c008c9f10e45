"""What the libraries compute on here: the GPU by its name, or "cpu". Nothing here fails where there is no GPU."""

from __future__ import annotations

import os

# Several libraries share the GPU in one process: JAX shall not take three quarters of its memory at the first call.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def of_torch() -> tuple[str, str]:
    """Return PyTorch's device, as its functions take it, and the name."""
    import torch

    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    return "cpu", "cpu"


def of_jax() -> str:
    """Return the name of the device that JAX puts arrays on."""
    import jax

    device = jax.devices()[0]
    return "cpu" if device.platform == "cpu" else device.device_kind


def of_cupy() -> str:
    """Return the name of the GPU that CuPy finds, or "cpu": CuPy itself has none to fall back on."""
    import cupy

    if cupy.cuda.is_available():
        return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return "cpu"


def of_onnxruntime() -> str:
    """Return the name of the GPU if ONNX Runtime's CUDA provider loads and takes a model, else "cpu"."""
    import onnxruntime as ort
    from onnx import TensorProto, helper

    name = of_torch()[1]
    if name == "cpu":
        return name
    ort.preload_dlls()
    shape = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]),
    )
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "neg", [shape[0]], [shape[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = ort.InferenceSession(
        model.SerializeToString(), providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    return name if session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"


def of_xgboost() -> str:
    """Return the name of the GPU if XGBoost trains on it, else "cpu"."""
    import json
    import warnings

    import numpy as np
    import xgboost

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU, and that it takes the CPU
        model = xgboost.XGBClassifier(device="cuda", n_estimators=1).fit(np.arange(8.0)[:, None], np.arange(8) % 2)
    used = json.loads(model.get_booster().save_config())["learner"]["generic_param"]["device"]
    return of_torch()[1] if used.startswith("cuda") else "cpu"


def of_nvml() -> str:
    """Return the name of the node's first GPU as the driver says it, or "cpu": there is none, or no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        if pynvml.nvmlDeviceGetCount():
            return pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
    except pynvml.NVMLError:
        pass
    return "cpu"
