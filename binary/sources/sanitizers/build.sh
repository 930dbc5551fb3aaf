#!/usr/bin/env bash
# In place of musl, for scripts/fuzz --sanitize: a compiler with GCC's sanitizers in the build's directory $1, under the
# name that the other build scripts use. It uses the system's C library, which the sanitizers need.
#
# OpenSSL keeps its assembler code, which is not checked: the C code in its place is not in the executables.
set -euo pipefail

prefix=$(realpath "$1")/musl
rm -rf "$prefix"
mkdir -p "$prefix/bin"
# -O1 instead of the options before it, for readable stacks; -rdynamic for extension modules of the tests' packages.
cat >"$prefix/bin/musl-cc" <<'END'
#!/bin/sh
exec gcc -fsanitize=address,undefined -fno-omit-frame-pointer -rdynamic "$@" -O1 -g1
END
chmod +x "$prefix/bin/musl-cc"
