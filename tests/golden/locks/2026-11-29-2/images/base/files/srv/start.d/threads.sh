# As many OpenMP threads as the container may use processors. PyTorch, XGBoost and OpenBLAS otherwise start one for each core
# of the node and wait for the ones that are not let run: a training step took 150 times as long with a limit of 2 on 4 cores.
if [ -z "${OMP_NUM_THREADS:-}" ]; then
  cpu_quota="" cpu_period=""
  if [ -r /sys/fs/cgroup/cpu.max ]; then
    read -r cpu_quota cpu_period </sys/fs/cgroup/cpu.max
  elif [ -r /sys/fs/cgroup/cpu/cpu.cfs_quota_us ] && [ -r /sys/fs/cgroup/cpu/cpu.cfs_period_us ]; then
    read -r cpu_quota </sys/fs/cgroup/cpu/cpu.cfs_quota_us
    read -r cpu_period </sys/fs/cgroup/cpu/cpu.cfs_period_us
  fi
  # No limit is written as `max` or -1.
  if [[ "${cpu_quota}" =~ ^[0-9]+$ && "${cpu_period}" =~ ^[1-9][0-9]*$ ]]; then
    cpu_threads=$((cpu_quota / cpu_period))
    if [ "${cpu_threads}" -lt 1 ]; then cpu_threads=1; fi
    if [ "${cpu_threads}" -lt "$(nproc)" ]; then export OMP_NUM_THREADS="${cpu_threads}"; fi
  fi
  unset cpu_quota cpu_period cpu_threads
fi
