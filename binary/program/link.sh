#!/usr/bin/env bash
# Link PyInstaller's bootloader ($1: its source) and CPython ($2: its build) into a static program, to
# which PyInstaller appends the archive of Python modules: $3/cold as it is, and $3/warm with the
# allocator whose memory can be saved.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
heap=$(realpath "$here/../heap")
bootloader=$(realpath "$1")/bootloader/src
python=$(realpath "$2")
mkdir -p "$3"
cd "$3"
cc=(gcc -O2 -fno-pie -fcf-protection=none -ffunction-sections -fdata-sections "-ffile-prefix-map=$bootloader=bootloader"
    "-ffile-prefix-map=$(dirname "$here")=binary" "-ffile-prefix-map=$python/source=cpython")

# The bootloader, and what takes the place of its dlopen and of its use of the environment.
sed -n 's/^ *_IMPORT_FUNCTION(\(\w*\)).*/\1/p' "$bootloader/pyi_dylib_python.c" |
    sort -u | sed '/^PyInitConfig_\|^Py_InitializeFromInitConfig$/d; s/.*/API(&)/' >api.h
"${cc[@]}" -Wall -Wextra -Werror -I. -c "$here/loader.c"
mkdir -p bootloader
for file in "$bootloader"/*.c; do
    "${cc[@]}" -w -D_GNU_SOURCE -DHAVE_UNSETENV -DHAVE_MKDTEMP -DHAVE_DIRNAME -DHAVE_BASENAME -DHAVE_WCSDUP \
        -c "$file" -o "bootloader/$(basename "$file" .c).o"
done
ld -r -o bootloader.o bootloader/*.o
objcopy $(printf -- '--redefine-sym %s=loader_%s ' dlopen dlopen dlsym dlsym dlclose dlclose dlerror dlerror \
    realpath realpath execvp execvp getenv getenv setenv setenv unsetenv unsetenv) bootloader.o

# The table of built-in modules, without those that the program does not import.
grep -vw -f <(sed '/^#/d; /^$/d' "$here/modules-left-out.txt") "$python/Modules/config.c" >config.c
# Nothing unwinds OpenSSL's stack.
for library in ssl crypto; do
    objcopy --remove-section .eh_frame "$(gcc -print-file-name=lib$library.a)" "lib$library.a"
done
libraries=("$python"/Modules/_hacl/*.a -L. -lssl -lcrypto -lz -lzstd -lm)
link=(gcc -static -no-pie -s -Wl,--gc-sections,--wrap=setlocale)
core=(-DPy_BUILD_CORE "-I$python" "-I$python/source/Include"
    "-I$python/source/Include/internal")
# The linker warns that the static libc would load plug-ins for name look-up; ours uses none.
quietly() { "$@" 2>warnings || { cat warnings >&2; return 1; }; }

"${cc[@]}" "${core[@]}" -c config.c
quietly "${link[@]}" -o cold loader.o bootloader.o config.o "$python/libpython3.13.a" "${libraries[@]}"

# The same with the heap: CPython's variables in one section, its memory from allocator.c, the
# bootloader ending in save.c instead of Py_Finalize().
"${cc[@]}" -Wall -Wextra -Werror -I. -DPy_Finalize=heap_finalize -c "$here/loader.c" -o loader-warm.o
objcopy --redefine-sym main=loader_main bootloader.o bootloader-warm.o
python3 "$heap/constants.py" >constants.h
rm -rf heap
mkdir heap
for file in "$heap"/*/*.c; do
    "${cc[@]}" "${core[@]}" -Wall -Wextra -Werror -I. "-I$heap/product" -c "$file" -o "heap/$(basename "$file" .c).o"
done
ld -r -o heap.o heap/*.o
sed 's/^struct _inittab/extern PyObject *PyInit__saved_heap(void);\n&/; s/{"_ast", /{"_saved_heap", PyInit__saved_heap},\n    &/' \
    config.c >config-warm.c
grep -q '"_saved_heap"' config-warm.c
"${cc[@]}" "${core[@]}" -c config-warm.c
# shellcheck disable=SC2046
ld -r --gc-sections -T "$here/saved.lds" -o python.o config-warm.o -u PyImport_Inittab -u _PyImport_Inittab \
    $(sed 's/API(\(.*\))/-u \1/' api.h) $(nm -u heap.o | sed -n 's/.* U \(_\?Py.*\)/-u \1/p') \
    "$python/libpython3.13.a" "$python"/Modules/_hacl/*.a
objcopy $(printf -- '--redefine-sym %s=heap_%s ' malloc malloc calloc calloc realloc realloc free free) python.o
# What only the build needs gets a segment of its own, which is then left out.
quietly "${link[@]}" -Wl,--section-start=build_only=0x8000000 -o warm heap.o loader-warm.o bootloader-warm.o python.o "${libraries[@]:1}"
