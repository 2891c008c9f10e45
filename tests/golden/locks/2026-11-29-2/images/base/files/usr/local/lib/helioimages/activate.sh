# What activating the environment means here, for /srv/start and login shells: once, and never undone.
# Spec: conda, `conda activate`: variables of packages first, then their scripts in the order of their names.
export CONDA_PREFIX="${NB_PYTHON_PREFIX}" CONDA_DEFAULT_ENV="${CONDA_ENV}"
if [ "${HELIOIMAGES_ACTIVATED:-}" != "${CONDA_PREFIX}" ]; then
  export HELIOIMAGES_ACTIVATED="${CONDA_PREFIX}"
  for part in "${CONDA_PREFIX}"/etc/conda/env_vars.d/*.json; do
    if [ -r "${part}" ]; then
      eval "$(jq -r 'to_entries[] | "export \(.key)=\(.value | tostring | @sh)"' "${part}")"
    fi
  done
  for part in "${CONDA_PREFIX}"/etc/conda/activate.d/*.sh; do
    if [ -r "${part}" ]; then . "${part}"; fi
  done
  unset part
fi
