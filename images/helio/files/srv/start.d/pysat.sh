# pysat has no folder for data until somebody names one, and its constellations cannot be imported without: its defaults and
# the folder that it proposes. Written once and never changed again.
pysat="${HOME}/.pysat/pysat_settings.json"
if [ ! -e "${pysat}" ] && [ -w "${HOME}" ]; then
  mkdir -p "${pysat%/*}/instruments/archive" "${HOME}/pysatData" && printf '%s\n' '{"clean_level": "clean",' \
    '"directory_format": "{platform}/{name}/{tag}/{inst_id}", "ignore_empty_files": false, "file_timeout": 10,' \
    '"update_files": true, "user_modules": {}, "warn_empty_file_list": false,' \
    "\"data_dirs\": [\"${HOME}/pysatData\"]}" >"${pysat}" || true
fi 2>/dev/null
unset pysat
