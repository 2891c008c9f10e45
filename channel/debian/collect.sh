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
  dpkg-query -L "$package" | sed 's|^/lib/|/usr/lib/|; s|^/||' | while read -r path; do
    case $path in
      usr/lib/*/lib*.so.* | usr/share/zoneinfo/* | usr/share/ca-certificates/*)
        if [ -L "/$path" ] || [ -f "/$path" ]; then
          mkdir -p "$to/files/$(dirname "$path")"
          cp -P "/$path" "$to/files/$path"
        fi ;;
    esac
  done
done <"$IN/packages"
chmod -R u+rwX,go+rX "$OUT"
