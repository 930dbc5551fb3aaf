#!/usr/bin/env bash
# Build CPython in directory python of the build's directory $1: one static interpreter with every
# extension module built in, and libpython.a for the executable. It runs from there; nothing is installed.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
. "$here/../../machine.sh" "$1"
sources=$(realpath "$1/../sources")
libraries=$(realpath "$1")
PATH="$libraries/musl/bin:$PATH"
cd "$1"
rm -rf python  # make does not detect other flags
mkdir python
cd python
"$here/../unpack.sh" "$sources"/python3.*.dsc source "$here"/patches/*.patch
python3 source/Tools/build/freeze_modules.py >/dev/null

# Left out: modules that neither the program nor PyInstaller imports. _hashlib is one of them so that no Python object
# ever contains an OpenSSL object: CPython's own modules compute hashes.
without="_asyncio _bz2 _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _ctypes
    _curses _curses_panel _dbm _decimal _elementtree _gdbm _hashlib _interpchannels _interpqueues
    _interpreters _lsprof _lzma _multibytecodec _multiprocessing _posixshmem _sqlite3 _statistics
    _tkinter _uuid _zoneinfo cmath readline syslog"
# Memory comes from malloc alone (no pymalloc, no mimalloc), because the saved heap replaces it.
# musl has no sem_clockwait(): with sem_timedwait(), waits of threads would depend on changes of the system's time.
# Without it they use condition variables and the monotonic clock.
# configure would find nice() broken if this runs with the lowest priority already.
# For another machine, configure cannot run what it compiles: cross-results.txt contains what it would find.
# The paths are relative so that the interpreter contains no path of the build.
cross=()
if [ "$machine" != "$native" ]; then
    cross=("--host=$platform" "--build=$native-linux-musl" "--with-build-python=$interpreter")
    cross+=("ac_cv_wchar_t_signed=$signed_wchar")
    while read -r result; do cross+=("$result"); done < <(sed 's/ *#.*//; /^$/d' "$here/cross-results.txt")
fi
# shellcheck disable=SC2046
source/configure --quiet "${cross[@]}" --prefix=/usr --disable-shared --disable-test-modules CC=musl-cc \
    --without-pymalloc --without-mimalloc --without-doc-strings --without-ensurepip \
    --with-openssl="$libraries/openssl" ac_cv_func_sem_timedwait=no ac_cv_broken_nice=no PKG_CONFIG=false \
    ZLIB_CFLAGS="-I$libraries/zlib/include" ZLIB_LIBS="-L$libraries/zlib/lib -lz" \
    MODULE_BUILDTYPE=static LINKFORSHARED=' ' OPT='-DNDEBUG -Os -Wall' \
    CFLAGS_NODIST="-ffile-prefix-map=source=. -ffile-prefix-map=$PWD=." \
    $(printf 'py_cv_module_%s=n/a ' $without)
# The files in which a check spends most of its time are compiled for speed: 0.97 of the time, the same as with -O2
# for all files.
make -s -j"$(nproc)" OPT='-DNDEBUG -O2 -Wall' Python/ceval.o \
    Objects/{call,dictobject,object,tupleobject,typeobject,unicodeobject}.o
# The time of the build gets into the interpreter.
SOURCE_DATE_EPOCH=0 make -s -j"$(nproc)"

# A wrong guess of configure would result in another interpreter.
if [ "$machine" != "$native" ]; then
    "$here/compare.py" "$(dirname "$interpreter")/pyconfig.h" pyconfig.h "$here/may-differ.txt" "$native" "$machine"
fi
