# A login shell starts with Debian's PATH: what the container started with is put back, or what the image says.
PATH="${HELIOIMAGES_PATH:-/srv/conda/envs/notebook/bin:/srv/conda/bin:${HOME}/.local/bin:${PATH}}"
export PATH
export CONDA_DIR=/srv/conda CONDA_ENV=notebook NB_PYTHON_PREFIX=/srv/conda/envs/notebook
. /usr/local/lib/helioimages/activate.sh
