#!/usr/bin/env bash
# Build zlib into directory zlib of the build's directory $1.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
sources=$(realpath "$1/../sources")
cd "$1"
PATH="$PWD/musl/bin:$PATH"
rm -rf zlib
mkdir zlib
cd zlib
"$here/../unpack.sh" "$sources"/zlib_*.dsc source
cd source
CC=musl-cc CFLAGS=-Os ./configure --static --prefix=/
make -s -j"$(nproc)" libz.a
make -s install DESTDIR="$(dirname "$PWD")"
