# Where licensed IDL and its licence are, for `idl`, `with-idl` and /srv/start.d/idl.sh: mounted, never in the image.

# Print the folder of IDL; fail if none is there. IDL_DIR, if set, is the only place looked at.
idl_tree() {
  if [ -n "${IDL_DIR:-}" ]; then set -- "${IDL_DIR}"; else set -- /usr/local/idl /usr/local/idl/idl; fi
  for tree in "$@"; do
    if [ -x "${tree}/bin/idl" ] && ! [ "${tree}/bin/idl" -ef /usr/local/bin/idl ]; then
      printf '%s\n' "${tree}"
      return 0
    fi
  done
  return 1
}

# Say whether a licence is named: by a variable that FlexNet reads, or by a folder that came with the tree $1.
idl_licence() {
  if [ -n "${LM_LICENSE_FILE:-}${IDL_LMGRD_LICENSE_FILE:-}" ]; then return 0; fi
  for file in "$1"/license/* "$1"/../license/*; do
    if [ -f "${file}" ]; then return 0; fi
  done
  return 1
}

idl_no_tree() {
  echo "error: licensed IDL is not mounted: there is no ${IDL_DIR:-/usr/local/idl}/bin/idl"
  echo
  echo "hint: mount an IDL installation there (docker run -v /path/of/idl:/usr/local/idl:ro), or set IDL_DIR to its"
  echo "folder, and name its licence server in LM_LICENSE_FILE=port@host; \`gdl\` runs IDL's language without a licence"
}

idl_no_licence() {
  echo "error: IDL at $1 has no licence: LM_LICENSE_FILE is not set"
  echo
  echo "hint: set LM_LICENSE_FILE=port@host to the licence server; \`gdl\` runs IDL's language without a licence"
}

# Set IDL_DIR, or say what is missing and fail.
idl_require() {
  if ! tree="$(idl_tree)"; then
    idl_no_tree >&2
    return 1
  fi
  if ! idl_licence "${tree}"; then
    idl_no_licence "${tree}" >&2
    return 1
  fi
  export IDL_DIR="${tree}"
}

# Let Python find the bridge of the tree $1 (`import idlpy`).
idl_bridge() {
  case ":${PYTHONPATH:-}:" in
    *":$1/lib/bridges:"*) ;;
    *) export PYTHONPATH="${PYTHONPATH:+${PYTHONPATH}:}$1/lib/bridges" ;;
  esac
}
