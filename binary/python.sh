#!/usr/bin/env bash
# Build CPython from the source $1 in directory $2: one static interpreter with every extension module
# built in, and libpython.a for the executable. It runs from $2; nothing is installed.
set -euo pipefail

rm -rf "$2"  # make does not notice other flags
mkdir -p "$2"
source=$(realpath --relative-to="$2" "$1")  # what is written into the interpreter names no place
cd "$2"

# The interpreter needs its codecs before any archive is open, so these are frozen into it. Those
# that an answer can ask for (JSON in UTF-16, a host name in IDNA) are among them.
codecs="aliases ascii cp1252 idna latin_1 punycode utf_8 utf_8_sig utf_16 utf_16_be utf_16_le
    utf_32 utf_32_be utf_32_le"
frozen="'<encodings>', 'stringprep',$(printf " 'encodings.%s'," $codecs)"
sed -i "s/^ *#'<encodings\.\*>',/        $frozen/" "$source/Tools/build/freeze_modules.py"
grep -q "'<encodings>', 'stringprep'" "$source/Tools/build/freeze_modules.py"
python3 "$source/Tools/build/freeze_modules.py" >/dev/null

# The cache of methods is indexed by the addresses of their names, and keeps names alive. Indexed by
# their hashes, it makes the interpreter do the same in each run, wherever its objects lie.
typeobject=$source/Objects/typeobject.c
sed -i 's/((Py_ssize_t)(name)) >> 3)/((PyASCIIObject *)(name))->hash)/' "$typeobject"
grep -q '((PyASCIIObject \*)(name))->hash)' "$typeobject"

# Names in code are interned for as long as they are in use, not for ever, so that they go with the
# code that is dropped.
code="$source/Objects/codeobject.c $source/Python/marshal.c"
# shellcheck disable=SC2086
sed -i 's/_PyUnicode_InternImmortal(/_PyUnicode_InternMortal(/' $code

# Each class sets room aside for the names of 30 attributes; few have as many as ten. Those that have
# more keep them in dictionaries of their own.
dict=$source/Include/internal/pycore_dict.h
sed -i 's/^#define SHARED_KEYS_MAX_SIZE 30/#define SHARED_KEYS_MAX_SIZE 10/
    s/^#define NEXT_LOG2_SHARED_KEYS_MAX_SIZE 6/#define NEXT_LOG2_SHARED_KEYS_MAX_SIZE 4/' "$dict"
grep -q 'define SHARED_KEYS_MAX_SIZE 10' "$dict"
grep -q 'define NEXT_LOG2_SHARED_KEYS_MAX_SIZE 4' "$dict"

# Left out: what neither the program nor PyInstaller imports. _hashlib is among it so that no
# object of OpenSSL is ever kept in a Python object: hashes come from CPython's own modules.
without="_asyncio _bz2 _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _ctypes
    _curses _curses_panel _dbm _decimal _elementtree _gdbm _hashlib _interpchannels _interpqueues
    _interpreters _lsprof _lzma _multibytecodec _multiprocessing _posixshmem _sqlite3 _statistics
    _tkinter _uuid _zoneinfo cmath readline syslog"
# Memory comes from malloc alone (no pymalloc, no mimalloc), because the saved heap replaces it.
# shellcheck disable=SC2046
"$source/configure" --quiet --prefix=/usr --disable-shared --disable-test-modules \
    --without-pymalloc --without-mimalloc --without-doc-strings --without-ensurepip \
    PKG_CONFIG='pkg-config --static' MODULE_BUILDTYPE=static LDFLAGS=-static LINKFORSHARED=' ' OPT='-DNDEBUG -Os -Wall' \
    CFLAGS_NODIST="-fno-pie -ffunction-sections -fdata-sections -fcf-protection=none -fno-asynchronous-unwind-tables \
        -ffile-prefix-map=$source=. -ffile-prefix-map=$PWD=." LDFLAGS_NODIST=-no-pie \
    $(printf 'py_cv_module_%s=n/a ' $without)
# When it was built is written into the interpreter.
SOURCE_DATE_EPOCH=0 make -s -j"$(nproc)"
