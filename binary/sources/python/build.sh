#!/usr/bin/env bash
# Build CPython from the sources in $1 in directory $2: one static interpreter with every extension
# module built in, and libpython.a for the executable. It runs from $2; nothing is installed.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
sources=$(realpath "$1")
rm -rf "$2"  # make does not notice other flags
mkdir -p "$2"
cd "$2"
"$here/../unpack.sh" "$sources"/python3.*.dsc source "$here/patches"
python3 source/Tools/build/freeze_modules.py >/dev/null

# Left out: what neither the program nor PyInstaller imports. _hashlib is among it so that no
# object of OpenSSL is ever kept in a Python object: hashes come from CPython's own modules.
without="_asyncio _bz2 _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _ctypes
    _curses _curses_panel _dbm _decimal _elementtree _gdbm _hashlib _interpchannels _interpqueues
    _interpreters _lsprof _lzma _multibytecodec _multiprocessing _posixshmem _sqlite3 _statistics
    _tkinter _uuid _zoneinfo cmath readline syslog"
# Memory comes from malloc alone (no pymalloc, no mimalloc), because the saved heap replaces it.
# The paths are relative so that what is written into the interpreter names no place.
# shellcheck disable=SC2046
source/configure --quiet --prefix=/usr --disable-shared --disable-test-modules \
    --without-pymalloc --without-mimalloc --without-doc-strings --without-ensurepip \
    PKG_CONFIG='pkg-config --static' MODULE_BUILDTYPE=static LDFLAGS=-static LINKFORSHARED=' ' OPT='-DNDEBUG -Os -Wall' \
    CFLAGS_NODIST="-fno-pie -ffunction-sections -fdata-sections -fcf-protection=none -fno-asynchronous-unwind-tables \
        -ffile-prefix-map=source=. -ffile-prefix-map=$PWD=." LDFLAGS_NODIST=-no-pie \
    $(printf 'py_cv_module_%s=n/a ' $without)
# When it was built is written into the interpreter.
SOURCE_DATE_EPOCH=0 make -s -j"$(nproc)"
