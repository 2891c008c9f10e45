# geospacelab asks at its first import where data goes, which no notebook can answer: the answer it proposes is given.
# Written once and never changed again.
geospacelab="${HOME}/.geospacelab/config.toml"
if [ ! -e "${geospacelab}" ] && [ -w "${HOME}" ]; then
  mkdir -p "${geospacelab%/*}" "${HOME}/Geospacelab/Data" && printf '%s\n' 'package_name = "geospacelab"' '[datahub]' \
    "data_root_dir = \"${HOME}/Geospacelab/Data\"" >"${geospacelab}" || true
fi 2>/dev/null
unset geospacelab
