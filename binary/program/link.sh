#!/usr/bin/env bash
# Link PyInstaller's bootloader and CPython in the build's directory $1 into static programs, to which PyInstaller
# appends the archive of Python modules: $1/link/cold, and $1/link/warm with the allocator whose memory can be saved.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
. "$here/../machine.sh" "$1"
binary=$(dirname "$here")
heap=$binary/heap
build=$(realpath "$1")
PATH="$build/musl/bin:$PATH"
bootloader=$(realpath "$build/../tools")/pyinstaller/bootloader/src
python=$build/python
rm -rf "$build/link"
mkdir "$build/link"
cd "$build/link"
cc=(musl-cc -O2 "-ffile-prefix-map=$bootloader=bootloader" "-ffile-prefix-map=$binary=binary"
    "-ffile-prefix-map=$python/source=cpython")
core=(-DPy_BUILD_CORE "-I$python" "-I$python/source/Include" "-I$python/source/Include/internal")
wrapped=(SSL_CTX_new SSL_do_handshake SSL_read_ex SSL_write_ex) # by guard.c
link=(musl-cc -Wl,--gc-sections,--wrap=setlocale,-z,norelro,-z,separate-code,-z,max-page-size=$page "${wrapped[@]/#/-Wl,--wrap=}")

# The bootloader, and the replacements of dlopen() and getenv().
sed -n 's/^ *_IMPORT_FUNCTION(\(\w*\)).*/\1/p' "$bootloader/pyi_dylib_python.c" |
    sort -u | sed '/^PyInitConfig_\|^Py_InitializeFromInitConfig$/d; s/.*/API(&)/' >api.h
"${cc[@]}" -Wall -Wextra -Werror -I. -c "$here/loader.c"
mkdir bootloader
for file in "$bootloader"/*.c; do
    "${cc[@]}" -w "-I$build/zlib/include" -D_GNU_SOURCE -DHAVE_UNSETENV -DHAVE_MKDTEMP -DHAVE_DIRNAME -DHAVE_BASENAME -DHAVE_WCSDUP \
        -c "$file" -o "bootloader/$(basename "$file" .c).o"
done
ld -r -o bootloader.o bootloader/*.o
objcopy $(printf -- '--redefine-sym %s=loader_%s ' dlopen dlopen "$dlsym" dlsym dlclose dlclose dlerror dlerror \
    realpath realpath execvp execvp getenv getenv setenv setenv unsetenv unsetenv) bootloader.o

# The table of built-in modules, without those that the program does not import.
grep -vw -f <(sed '/^#/d; /^$/d' "$here/modules-left-out.txt") "$python/Modules/config.c" >config.c
"${cc[@]}" "${core[@]}" -c config.c

common=()
if [ -n "$memory" ]; then # its loops must not become calls of itself
    "${cc[@]}" -Wall -Wextra -Werror -fno-builtin -fno-tree-loop-distribute-patterns -c "$here/$memory"
    common=("${memory%.c}.o")
fi

# OpenSSL queries the processor in each start (.init) and again when it is first used; in a virtual machine each of
# the 9 queries traps (5.6 us). Nothing unwinds its stack. OPENSSL_ia32cap and OPENSSL_armcap could make it execute
# instructions that the processor lacks, so it reads no variable.
for library in ssl crypto; do
    objcopy --remove-section .eh_frame --remove-section .init --redefine-sym getenv=loader_getenv \
        "$build/openssl/lib/lib$library.a" "lib$library.a"
    if nm -u "lib$library.a" | grep -w 'U secure_getenv\|U __secure_getenv\|U environ'; then
        echo "lib$library.a reads the environment by another function than getenv()" >&2
        exit 1
    fi
done
common+=("$python"/Modules/_hacl/*.a -L. -lssl -lcrypto "-L$build/zlib/lib" -lz "${libraries_of_compiler[@]}")

guard=("${cc[@]}" "${core[@]}" -Wall -Wextra -Werror "-I$build/openssl/include" -c "$here/guard.c")
"${guard[@]}"
"${link[@]}" -s -o cold loader.o guard.o bootloader.o config.o "$python/libpython3.13.a" "${common[@]}"

# The same with the heap: CPython's variables in one section, its memory from allocator.c, and the bootloader calls
# save.c instead of Py_Finalize().
"${cc[@]}" -Wall -Wextra -Werror -I. -DPy_Finalize=heap_finalize -c "$here/loader.c" -o loader-warm.o
objcopy --redefine-sym main=loader_main bootloader.o bootloader-warm.o
python3 "$heap/constants.py" "$word" >constants.h
mkdir heap
for file in "$heap"/build/{objects,openssl,save}.c "$heap"/product/*.c; do
    "${cc[@]}" "${core[@]}" -Wall -Wextra -Werror -I. "-I$heap/product" "-I$build/zlib/include" "-I$build/openssl/include" \
        -c "$file" -o "heap/$(basename "$file" .c).o"
done
ld -r -o heap.o heap/*.o
"${guard[@]}" -DSAVED_HEAP -I. "-I$heap/product" -o guard-warm.o
objcopy --redefine-sym read=heap_read --redefine-sym getentropy=heap_getentropy libcrypto.a heap/libcrypto.a
sed 's/^struct _inittab/extern PyObject *PyInit__saved_heap(void);\n&/; s/{"_ast", /{"_saved_heap", PyInit__saved_heap},\n    &/' \
    config.c >config-warm.c
grep -q '"_saved_heap"' config-warm.c
"${cc[@]}" "${core[@]}" -c config-warm.c
# Functions and variables that checks use are put together, in the order of order.txt, whose unknown names are
# ignored: 0.97 of the time, 102 instead of 129 page faults.
ordered() { sed -n "s/^$1 \(.*\)/$2/p" "$here/order.txt"; }
ordered variable '*(.data.\1 .bss.\1)' >variable.lds
ordered plain '*(.text.\1 .text.unlikely.\1 .text.startup.\1 .text.hot.\1)' >plain.lds
ordered other '*(.text.\1 .text.unlikely.\1)' >other.lds
ordered plain '*(.rodata.\1 .rodata.\1.str1.1 .rodata.\1.str1.4 .rodata.\1.str1.8)' >constant.lds
ordered constant '*(.rodata.\1)' >>constant.lds
wraps=("${wrapped[@]/#/--wrap=}")
for name in "${wrapped[@]}"; do
    wraps+=(-u "$name") # only the wrapping function calls it
done
# The bootloader and these parts of CPython only run in the build.
ld -r -T "$here/bootloader.lds" -o bootloader-only.o bootloader-warm.o
sed '/^#/d; s/.*/*libpython3.13.a:&.o(.text .text.* .rodata .rodata.*)/' "$here/build-only.txt" >build_only.lds
# shellcheck disable=SC2046
ld -r --gc-sections -T "$here/saved.lds" -Map=python.map -o python.o config-warm.o -u PyImport_Inittab -u _PyImport_Inittab \
    $(sed 's/API(\(.*\))/-u \1/' api.h) $(nm -u heap.o guard-warm.o | sed -n 's/.* U \(_\?Py.*\|[A-Z][A-Z0-9]*_.*\)/-u \1/p') \
    "${wraps[@]}" "$python/libpython3.13.a" "$python"/Modules/_hacl/*.a -Lheap -L. -lssl -lcrypto
timer=setitimer
[ "$word" = 8 ] || timer=__setitimer_time64 # as musl's headers call it
objcopy $(printf -- '--redefine-sym %s=heap_%s ' malloc malloc calloc calloc realloc realloc free free \
    "$clock" clock_gettime "$timer" setitimer getrandom getrandom poll poll recv recv) \
    --set-section-flags build_only=alloc,load,readonly,code python.o # constants with addresses are in .data on ppc64le
"${cc[@]}" -c "$here/spare.c"
# Code that only the build needs gets a segment of its own, which write_executable.py leaves out.
"${link[@]}" -Wl,--wrap=pthread_create,--wrap=pthread_key_create,--section-start=build_only=$build_only,-T,"$here/order.lds",-Map=warm.map \
    -o warm.symbols -Lheap heap.o \
    loader-warm.o guard-warm.o bootloader-only.o python.o spare.o "${common[@]}"
strip -o warm warm.symbols
# What save.sh runs, made by the tools of this machine. QEMU before 9 takes plug-ins of version 1, later ones of
# version 2.
PATH=${PATH#*:}
host=(gcc -O2 -Wall -Wextra -Werror)
"${host[@]}" -o compress "$heap/build/compress.c"
qemu=$("${traced[@]}" --version | sed -n 's/.* version \([0-9]*\).*/\1/p')
"${host[@]}" -fPIC -shared -I. "-DQEMU_PLUGIN_VERSION=$((qemu < 9 ? 1 : 2))" -o trace.so "$heap/emulated/trace.c"
