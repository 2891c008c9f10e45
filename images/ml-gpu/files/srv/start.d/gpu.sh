# Says what stands between this container and a GPU; everything runs on the processor then, CuPy excepted.
# Nothing is refused, and nothing is said where a GPU works.
gpu_driver=580 # the oldest for CUDA 13; the image's label io.helioimages.cuda.driver
gpu_note=""
if [ -e /dev/nvidiactl ]; then
  gpu_found="$(sed -n 's/^NVRM version:.* \([0-9][0-9]*\)\.[0-9.]* .*/\1/p' /proc/driver/nvidia/version 2>/dev/null)"
  if [ -n "${gpu_found}" ] && [ "${gpu_found}" -lt "${gpu_driver}" ]; then
    gpu_note="the node's NVIDIA driver is ${gpu_found}, CUDA 13 needs ${gpu_driver} or newer"
  elif ! ldconfig -p | grep -q 'libcuda\.so\.1' && [ ! -e /usr/local/nvidia/lib64/libcuda.so.1 ]; then
    gpu_note="there is a GPU, but not its driver's library (libcuda.so.1): the node lacks NVIDIA's container toolkit"
  fi
elif [ ! -e /dev/dxg ]; then
  gpu_note="this container was given no GPU (docker run --gpus all; on Kubernetes a limit of nvidia.com/gpu)"
fi
if [ -n "${gpu_note}" ]; then
  echo "helioimages: ${gpu_note}; PyTorch, JAX and XGBoost use the processor, CuPy cannot" >&2
fi
unset gpu_driver gpu_found gpu_note
