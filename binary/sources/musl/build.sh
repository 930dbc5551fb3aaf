#!/usr/bin/env bash
# Build musl into directory musl of the build's directory $1, with a compiler for it, musl/bin/musl-cc, and the
# machine's binutils. It uses no header and no library of Debian except the kernel's headers and libgcc.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
. "$here/../../machine.sh" "$1"
sources=$(realpath "$1/../sources")
prefix=$(realpath "$1")/musl
rm -rf "$prefix"
mkdir -p "$prefix"/{include,bin}
cd "$prefix"
"$here/../unpack.sh" "$sources"/musl_*.dsc source "$here"/patches/*.patch
cd source
# A function that writes past an array on its stack stops the process; one that needs much stack touches each page.
hardened="-fstack-protector-strong -fstack-clash-protection"
./configure --prefix="$prefix" --target="$triplet" --disable-shared --enable-wrapper=gcc \
    CC="${tools}gcc" CROSS_COMPILE="$tools" CFLAGS="-Os -fno-pie $hardened $flags -ffile-prefix-map=$PWD=musl"
make -s -j"$(nproc)" install
for headers in linux asm-generic; do
    ln -s "/usr/include/$headers" "$prefix/include/$headers"
done
ln -s "$(find "/usr/include/$triplet/asm" "/usr/$triplet/include/asm" -maxdepth 0 2>/dev/null | head -n 1)" "$prefix/include/asm"
for tool in ar ld nm objcopy ranlib readelf strip; do
    ln -s "$(command -v "$tools$tool")" "$prefix/bin/$tool"
done

# Everything that is linked is compiled with these options: for a static program at a fixed address, with used
# functions only and without stack unwinding. CPython's configure needs the name of the platform.
cat >"$prefix/bin/musl-cc" <<END
#!/bin/sh
[ "\$1" != --print-multiarch ] || exec echo $platform
exec ${tools}gcc -fno-pie -no-pie -static -ffunction-sections -fdata-sections $hardened $flags \\
    -fno-asynchronous-unwind-tables "\$@" -specs "$prefix/lib/musl-gcc.specs"
END
chmod +x "$prefix/bin/musl-cc"
