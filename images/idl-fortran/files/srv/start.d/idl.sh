# Licensed IDL, if it is mounted: IDL_DIR, the Python bridge's folder, and hissw's file, which is kept up to date while
# its first line is ours.
. /usr/local/lib/idl/seam.sh
if idl_found="$(idl_tree)"; then
  export IDL_DIR="${idl_found}"
  idl_bridge "${idl_found}"
  idl_licence "${idl_found}" || idl_no_licence "${idl_found}" >&2
  hisswrc="${HOME}/.hissw/hisswrc" ours="# written by /srv/start.d/idl.sh; delete this line to keep your own changes"
  if [ -w "${HOME}" ] && { [ ! -e "${hisswrc}" ] || [ "$(head -n 1 "${hisswrc}")" = "${ours}" ]; }; then
    mkdir -p "${hisswrc%/*}" && printf '%s\n' "${ours}" '[hissw]' "idl_home = ${idl_found}" \
      ${SSW:+"ssw_home = ${SSW}"} >"${hisswrc}" || true
  fi 2>/dev/null
  unset hisswrc ours
fi
unset idl_found
