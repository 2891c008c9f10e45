# Offline by default: Astropy uses the tables of its packages until a person says otherwise in this file. It is written once,
# and again only where it is still what an earlier image wrote.
#   auto_max_age  days. Predictions of the Earth's rotation are good as long as they reach, a year. It decides on leap seconds
#                 too: a list is taken that ends later than so many days ago, less 180. With 36500 that was the one of ERFA's
#                 library, of 2017, with a warning; with 3000 it is the one of astropy-iers-data.
astropy="${HOME}/.astropy/config/astropy.cfg"
astropy_text() { printf '%s\n' '[utils.iers.iers]' 'auto_download = False' "auto_max_age = $1"; }
if [ -w "${HOME}" ]; then
  if [ ! -s "${astropy}" ] || [ "$(cat "${astropy}")" = "$(astropy_text 36500.0)" ]; then
    mkdir -p "${astropy%/*}" && astropy_text 3000.0 >"${astropy}.new" && mv -f "${astropy}.new" "${astropy}" || true
  fi
fi 2>/dev/null
unset -f astropy_text
unset astropy
