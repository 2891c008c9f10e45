# A login shell starts with Debian's PATH: put the environment first again.
case ":${PATH}:" in
  *":/srv/conda/envs/notebook/bin:"*) ;;
  *) PATH="/srv/conda/envs/notebook/bin:/srv/conda/bin:${PATH}" ;;
esac
export PATH
export CONDA_DIR=/srv/conda CONDA_ENV=notebook NB_PYTHON_PREFIX=/srv/conda/envs/notebook
export CONDA_PREFIX=/srv/conda/envs/notebook CONDA_DEFAULT_ENV=notebook
