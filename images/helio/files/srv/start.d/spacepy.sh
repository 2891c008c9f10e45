# SpacePy copies its table of leap seconds into the home, and warns when the copy is older than half a year. Files of an image
# have no age: the table is given the day on which the image's packages were locked, when it was good.
leaps=data/tai-utc.dat
if [ -w "${HOME}" ]; then
  packaged="$(printf '%s\n' "${NB_PYTHON_PREFIX}"/lib/python3.*/site-packages/spacepy/"${leaps}")"
  mine="${SPACEPY:-${HOME}}/.spacepy/${leaps}"
  if [ -r "${packaged}" ] && { [ ! -e "${mine}" ] || cmp -s "${packaged}" "${mine}"; }; then
    mkdir -p "${mine%/*}" && { [ -e "${mine}" ] || cp "${packaged}" "${mine}"; } &&
      touch -d "${HELIOIMAGES_VERSION//./-}" "${mine}" || true
  fi
fi 2>/dev/null
unset leaps packaged mine
