# Who runs in this container, and where can it write? Read by /srv/start: what is unusual is told in one line, on stderr, and
# what can be worked around is. Bash.

say() { printf 'start: %s\n' "$*" >&2; }

who="uid $(id -u), gid $(id -g)"

# NB_UID and NB_GID are how Jupyter's docker-stacks name another account: only root can become it.
built_for="$(id -u "${NB_USER}" 2>/dev/null)"
if [ "${NB_UID}" != "${built_for}" ] || [ -n "${NB_GID:-}" ]; then
  if ! [[ "${NB_UID}" =~ ^[0-9]+$ && "${NB_GID:-100}" =~ ^[0-9]+$ ]]; then
    say "NB_UID and NB_GID are left alone: expected numbers not '${NB_UID}' and '${NB_GID:-}'"
  elif [ "$(id -u)" -eq 0 ] && [ "${NB_UID}" -ne 0 ]; then
    # The account of /etc/passwd becomes this one, and its home is given to it unless somebody's files are there.
    nb_gid="${NB_GID:-100}"
    sed -i -E "s/^(${NB_USER}:[^:]*):[0-9]+:[0-9]+:/\1:${NB_UID}:${nb_gid}:/" /etc/passwd 2>/dev/null ||
      say "/etc/passwd cannot be written: ${NB_USER} keeps its number there"
    if [ -n "${CHOWN_HOME:-}" ] || [ "$(stat -c %u "${HOME}")" = "${built_for}" ]; then
      # shellcheck disable=SC2086
      chown ${CHOWN_HOME_OPTS:-} "${NB_UID}:${nb_gid}" "${HOME}" || say "${HOME} cannot be given to uid ${NB_UID}"
    fi
    # Group 0 owns what any account may write here, e.g. the home.
    exec setpriv --reuid "${NB_UID}" --regid "${nb_gid}" --groups "${nb_gid},100,0" -- /srv/start "$@"
  elif [ "$(id -u)" != "${NB_UID}" ] || [ "$(id -g)" != "${NB_GID:-$(id -g)}" ]; then
    say "no use is made of NB_UID=${NB_UID}${NB_GID:+ and NB_GID=${NB_GID}}: this runs as ${who};" \
      "start as root for them (docker run --user 0), or as that account (--user ${NB_UID}:0)"
  fi
fi

# An arbitrary uid (OpenShift, Apptainer) has no line in /etc/passwd: Python and git then ask these.
if ! whoami >/dev/null 2>&1; then
  export USER="${NB_USER}" LOGNAME="${NB_USER}"
fi

# Does writing a file there work? A full disk is found by this, and only by this.
writes() {
  local trial="$1/.start-$$"
  { printf '%4096s' ' ' >"${trial}"; } 2>/dev/null && rm -f "${trial}" && return 0
  rm -f "${trial}" 2>/dev/null
  return 1
}
owner() {
  if grep -qE "^[^ ]+ [^ ]+ [^ ]+ [^ ]+ $(stat -c %m "$1" 2>/dev/null) ro," /proc/self/mountinfo; then
    echo "its file system is read-only"
  else
    stat -c 'it belongs to %u:%g, mode %a' "$1" 2>/dev/null || echo "it is not there"
  fi
}

# Temporary files.
if ! writes "${TMPDIR:-/tmp}"; then
  for place in /tmp /dev/shm /run/user/"$(id -u)"; do
    if writes "${place}"; then
      say "${TMPDIR:-/tmp} cannot be written (a read-only root has none: docker run --tmpfs /tmp);" \
        "temporary files go to ${place}, which is memory"
      export TMPDIR="${place}"
      break
    fi
  done
  writes "${TMPDIR:-/tmp}" || say "nothing can be written, not even ${TMPDIR:-/tmp}: mount a place (docker run --tmpfs /tmp)"
  unset place
fi

# The home.
temporary="${TMPDIR:-/tmp}"
if [ -w "${HOME}" ]; then
  if ! writes "${HOME}"; then
    say "the disk of ${HOME} is full, or over its quota: Jupyter's own files go to ${temporary}; delete something"
    full=yes
  fi
elif other="$(mktemp -d "${temporary}/home-XXXXXX" 2>/dev/null)"; then
  say "the home ${HOME} cannot be written by ${who} ($(owner "${HOME}")): ${other} is used, which goes when this ends;" \
    "mount a folder that this account may write, or use group 0 (docker run --user $(id -u):0)"
  if [ "${PWD}" = "${HOME}" ]; then cd "${other}" || true; fi
  PATH="${PATH//":${HOME}/.local/bin:"/:}"
  export HOME="${other}"
else
  say "the home ${HOME} cannot be written by ${who} ($(owner "${HOME}")), nor can ${temporary}"
fi

# What Jupyter writes at its start. A volume below a folder that was not there leaves that folder to root.
for part in .local .local/share .local/share/jupyter .local/share/jupyter/runtime .jupyter .ipython; do
  if [ -n "${full:-}" ] || { [ -e "${HOME}/${part}" ] && [ ! -w "${HOME}/${part}" ]; }; then
    if [ -z "${full:-}" ]; then
      say "${HOME}/${part} cannot be written by ${who} ($(owner "${HOME}/${part}")): Jupyter's own files go to ${temporary}"
    fi
    if other="$(mktemp -d "${temporary}/jupyter-XXXXXX" 2>/dev/null)"; then
      export JUPYTER_PATH="${JUPYTER_PATH:+${JUPYTER_PATH}:}${HOME}/.local/share/jupyter"
      export JUPYTER_DATA_DIR="${other}/data" JUPYTER_RUNTIME_DIR="${other}/runtime"
      export JUPYTER_CONFIG_PATH="${JUPYTER_CONFIG_PATH:+${JUPYTER_CONFIG_PATH}:}${HOME}/.jupyter"
      export JUPYTER_CONFIG_DIR="${other}/config" IPYTHONDIR="${other}/ipython"
      mkdir -p "${IPYTHONDIR}"
    fi
    break
  fi
done

# Folders that somebody mounted below the home, to be written.
while read -r _ _ _ _ mounted options _; do
  mounted="$(printf '%b' "${mounted}")"
  case "${mounted}" in
    "${HOME}"/* | /home/"${NB_USER}"/*)
      if [[ ",${options}," != *,ro,* ]] && [ ! -w "${mounted}" ]; then
        say "the mounted ${mounted} cannot be written by ${who} ($(owner "${mounted}"));" \
          "give it to uid $(id -u), start as its owner (docker run --user), or mount it read-only (:ro)"
      fi
      ;;
  esac
done </proc/self/mountinfo

unset -f say writes owner
unset who built_for nb_gid temporary full other part mounted options
