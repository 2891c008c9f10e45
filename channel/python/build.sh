#!/bin/bash
# Compile CPython for a placeholder prefix and leave the installed tree in $OUT.
#
# Runs in the Debian builder without network. Reads $IN/source and $IN/patches/, writes $OUT/prefix/ and $OUT/licenses/.
# Environment: PREFIX (the 255-character placeholder), VERSION, JOBS, SOURCE_DATE_EPOCH.
#
# The compiler gets a profile of CPython's own training run, which is an input like any other
# ($IN/profiles/<machine>.tar.xz): training on each build would make other bytes each time and take minutes. With
# TRAIN=1 this script makes that file instead, as $OUT/profile.tar.xz; README.md says when.
set -euo pipefail
umask 022
PY=${VERSION%.*}
mkdir -p "$OUT/prefix" "$OUT/licenses"
export LC_ALL=C TZ=UTC PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1

# One fixed folder, so that __FILE__ and assertions are the same everywhere; -ffile-prefix-map then drops it.
src=/build/python
mkdir -p "$src"
tar -C "$src" --strip-components=1 --no-same-owner -xf "$IN/source"
cd "$src"
while read -r name; do
  patch -p1 -s --no-backup-if-mismatch <"$IN/patches/$name"
done <"$IN/patches/series"

# Modules that every notebook imports and that need no library of their own go into the executable: no dlopen each.
# The list's names are those of Modules/Setup, where each stands as a comment with its source files.
static='array _asyncio _bisect _contextvars _csv _datetime _heapq _interpchannels _interpqueues _interpreters _json
  _opcode _pickle _posixsubprocess _queue _random _socket _statistics _struct _zoneinfo cmath fcntl grp
  math mmap resource select termios unicodedata'
{
  echo '*static*'
  for name in $static; do
    grep -E "^#$name [a-zA-Z0-9_/]+\.c" Modules/Setup | sed 's/^#//'
  done
} >Modules/Setup.local

profile="$IN/profiles/$(uname -m).tar.xz"
if [ "${TRAIN:-}" ]; then
  tune=-fprofile-generate
  libs=-lgcov
elif [ -f "$profile" ]; then
  tar -C "$src" --no-same-owner -xf "$profile"
  # Files that the training never entered have no profile, and patched functions have another shape: both are fine.
  tune='-fprofile-use -fprofile-correction -Wno-missing-profile -Wno-coverage-mismatch'
fi

# *_NODIST flags build the interpreter but are not handed on to extensions that users compile.
# -fno-semantic-interposition, -fno-plt: calls inside the interpreter need no indirection. No -g: nothing to strip.
started=$SECONDS
# The ac_cv_* lines answer what configure would find out by looking at the running machine.
./configure -q \
  CC=gcc CXX=g++ AR=ar OPT='-O3 -Wall' \
  CFLAGS_NODIST="-fno-semantic-interposition -fno-plt -ffile-prefix-map=$src=. ${tune:-}" \
  LIBS="${libs:-}" LDFLAGS_NODIST="-Wl,-O1,--as-needed,-z,relro,-z,now ${TRAIN:+-fprofile-generate}" \
  --prefix="$PREFIX" \
  --with-tzpath="$PREFIX/share/zoneinfo:/usr/share/zoneinfo" \
  --with-ensurepip=no \
  --without-static-libpython \
  --with-computed-gotos \
  --enable-loadable-sqlite-extensions \
  --with-system-expat \
  --with-dbmliborder= \
  --disable-test-modules \
  --enable-ipv6 \
  ac_cv_file__dev_ptmx=yes ac_cv_file__dev_ptc=no ac_cv_buggy_getaddrinfo=no \
  ac_cv_posix_semaphores_enabled=yes ac_cv_broken_sem_getvalue=no ac_cv_working_tzset=yes \
  py_cv_module__tkinter=n/a py_cv_module__dbm=n/a py_cv_module__gdbm=n/a \
  >configure.log 2>&1 || { tail -40 configure.log; exit 1; }
echo "configure: $((SECONDS - started)) s"

started=$SECONDS
make -j"$JOBS" >make.log 2>&1 || { grep -iE -B3 -A8 'error' make.log | tail -60; exit 1; }
grep -A6 -E 'necessary bits|failed to import|could not be' make.log && { echo 'a module of the standard library is missing'; exit 1; }
echo "make: $((SECONDS - started)) s"

if [ "${TRAIN:-}" ]; then
  find . -name '*.gcda' -delete
  ./python -m test --pgo --timeout 600
  find . -name '*.gcda' | sort >/tmp/list
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - -T /tmp/list | xz -9e >"$OUT/profile.tar.xz"
  exit
fi

started=$SECONDS
# --help stops compileall: the image's builder compiles .pyc itself, for the real prefix and with unchecked hashes.
make -j1 install DESTDIR=/build/stage COMPILEALL_OPTS=--help >install.log 2>&1 || { tail -40 install.log; exit 1; }
cp LICENSE "$OUT/licenses/"
cp -a "/build/stage$PREFIX/." "$OUT/prefix/"
cd "$OUT/prefix"

# What is left out: tests, IDLE and Tk (no display in a hub), the embedding half of pkg-config (there is no libpython).
rm -rf lib/python"$PY"/{test,idlelib,turtledemo,tkinter} lib/python"$PY"/turtle.py lib/python"$PY"/*/__phello__*
rm -f bin/idle* lib/pkgconfig/*-embed.pc
find . -name __pycache__ -prune -exec rm -rf {} +
for name in python pydoc; do ln -sf "${name}3" "bin/$name"; done
ln -sf python3-config bin/python-config
mkdir -p lib/python"$PY"/site-packages
rm -f lib/python"$PY"/site-packages/README.txt

# The build folder's name has no meaning on another machine.
grep -rlZ --include='*' "$src" . | xargs -0r sed -i "s|$src|.|g"

# DT_RPATH, not RUNPATH: it also serves the libraries that ours need in turn, so Debian's files stay as they are.
strip --strip-unneeded --remove-section=.comment bin/python"$PY" lib/python"$PY"/lib-dynload/*.so
patchelf --force-rpath --set-rpath '$ORIGIN/../lib' bin/python"$PY"
for module in lib/python"$PY"/lib-dynload/*.so; do
  patchelf --force-rpath --set-rpath '$ORIGIN/../..' "$module"
done
chmod -R u+rwX,go+rX,go-w "$OUT"
echo "install: $((SECONDS - started)) s"
