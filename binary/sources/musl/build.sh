#!/usr/bin/env bash
# Build musl into directory musl of the build's directory $1, and a compiler for it: musl/bin/musl-cc. What that
# compiles and links knows no header and no library of this machine but the kernel's headers and libgcc.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
sources=$(realpath "$1/../sources")
prefix=$(realpath "$1")/musl
rm -rf "$prefix"
mkdir -p "$prefix"/{include,bin}
cd "$prefix"
"$here/../unpack.sh" "$sources"/musl_*.dsc source "$here"/patches/*.patch
cd source
machine=$(gcc -dumpmachine)
./configure --prefix="$prefix" --target="$machine" --disable-shared --enable-wrapper=gcc \
    CFLAGS="-Os -fno-pie -fcf-protection=none -ffile-prefix-map=$PWD=musl"
make -s -j"$(nproc)" install
for headers in linux asm-generic "$machine/asm"; do
    ln -s "/usr/include/$headers" "$prefix/include/${headers##*/}"
done

# All that is linked is compiled with these: for a static program at a fixed address that holds only
# what it uses and unwinds nothing. CPython's configure asks for the name of the platform.
cat >"$prefix/bin/musl-cc" <<END
#!/bin/sh
[ "\$1" != --print-multiarch ] || exec echo ${machine%-gnu}-musl
exec gcc -fno-pie -no-pie -static -ffunction-sections -fdata-sections -fcf-protection=none \\
    -fno-asynchronous-unwind-tables "\$@" -specs "$prefix/lib/musl-gcc.specs"
END
chmod +x "$prefix/bin/musl-cc"
