#!/usr/bin/env bash
# Build zlib from the sources in $1, with the compiler in $2/bin, into directory $3.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
sources=$(realpath "$1")
PATH="$(realpath "$2")/bin:$PATH"
rm -rf "$3"
mkdir -p "$3"
cd "$3"
"$here/../unpack.sh" "$sources"/zlib_*.dsc source
cd source
CC=musl-cc CFLAGS=-Os ./configure --static --prefix=/
make -s -j"$(nproc)" libz.a
make -s install DESTDIR="$(dirname "$PWD")"
