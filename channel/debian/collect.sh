#!/bin/bash
# Copy the files of the builder's own Debian packages named in $IN/packages, unchanged, with version and copyright.
#
# Leaves $OUT/<package>/{version,source,copyright} and $OUT/<package>/files/<path from the root>.
set -euo pipefail
export LC_ALL=C
while read -r package; do
  to="$OUT/$package"
  mkdir -p "$to/files"
  dpkg-query -W -f '${Version}' "$package" >"$to/version" || { echo "the builder has no package $package"; exit 3; }
  dpkg-query -W -f '${source:Package} ${source:Version}' "$package" >"$to/source"
  cp -L "/usr/share/doc/$package/copyright" "$to/copyright" || { echo "no copyright file of $package"; exit 3; }
  # Debian lists some libraries under /lib, which is a link to /usr/lib.
  dpkg-query -L "$package" | sed 's|^/lib/|/usr/lib/|; s|^/||' |
    grep -E '^usr/(lib/[^/]+/lib[^/]*\.so\.|share/zoneinfo/|share/ca-certificates/)' >/tmp/list || true
  tar -C / --no-recursion --no-unquote --verbatim-files-from -cf - -T /tmp/list | tar -C "$to/files" --no-same-owner -xf -
done <"$IN/packages"
chmod -R u+rwX,go+rX "$OUT"
