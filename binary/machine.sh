# The differences between the machines that executables are built for. To be sourced with a build's directory:
#   . machine.sh build/aarch64
# Machines have the names of `uname -m`. The executable for another machine is cross-built, and run by QEMU.
# A machine has one branch; scripts/build-binary repeats the steps of a machine when its branch or the rest changes.
# shellcheck shell=bash disable=SC2034

machine=$(basename "$(realpath "$1")")
native=$(uname -m)

triplet=$machine-linux-gnu    # of Debian's compiler
platform=$machine-linux-musl  # as CPython calls it
qemu=$machine                 # as QEMU calls it
word=8                        # the bytes of a pointer
page=4096                     # the largest that a kernel of this machine may have
memory=                       # a replacement of libc's memcpy() and memmove()
libraries_of_compiler=()      # that its code needs besides libgcc
clock=clock_gettime           # the names of these functions in musl
dlsym=dlsym
build_only=0x8000000          # the address of the code that only the build needs, above all other
most_bytes=8000000            # of the executable; aarch64 takes 7,936,688 by the compiler of Debian 13

case $machine in
aarch64)
    debian=arm64
    openssl=linux-aarch64
    flags=-mbranch-protection=none  # no marks at the start of each function, which cost time and space
    signed_wchar=no
    page=65536  # 4, 16 or 64 KiB
    ;;
armv7l)
    debian=armhf
    triplet=arm-linux-gnueabihf
    platform=arm-linux-musleabihf
    qemu=arm
    openssl=linux-armv4
    flags="-march=armv7-a+fp -mthumb -fno-unwind-tables"
    signed_wchar=no
    word=4
    # musl's headers rename the functions that take a time of 64 bits, and some that were renamed by the way.
    clock=__clock_gettime64
    dlsym=__dlsym_time64
    ;;
ppc64le)
    debian=ppc64el
    triplet=powerpc64le-linux-gnu
    platform=powerpc64le-linux-musl
    openssl=linux-ppc64le
    flags=-mlong-double-64  # musl does not know a pair of two double
    signed_wchar=yes
    page=65536              # 4 or 64 KiB
    build_only=0x20000000   # the linker begins at 0x10000000
    most_bytes=9050000      # its code is larger by a third
    ;;
riscv64)
    debian=riscv64
    openssl=linux64-riscv64
    # All variables are in the sections that saved.lds puts together; not in .sdata and .sbss. The linker does not
    # shorten calls: 4 % of the code, for which it takes 45 seconds each time.
    flags="-msmall-data-limit=0 -mno-relax"
    signed_wchar=yes
    libraries_of_compiler=(-latomic)  # for single bytes; GCC 14 needs none
    ;;
s390x)
    debian=s390x
    openssl=linux64-s390x
    flags=
    signed_wchar=yes
    most_bytes=8300000  # its machine code takes a sixth more than that of x86-64
    ;;
x86_64)
    debian=amd64
    openssl=linux-x86_64
    flags=-fcf-protection=none  # as for aarch64
    signed_wchar=yes
    memory=memory.c  # libc's are slow for small copies
    ;;
*)
    echo "unsupported machine: $machine (expected x86_64, aarch64, armv7l, ppc64le, riscv64 or s390x)" >&2
    exit 1
    ;;
esac

tools=$triplet-
# The build's interpreter and the compiler of the build's programs are those of this machine.
interpreter=$(dirname "$(realpath "$1")")/$native/python/python
packages=(qemu-user)
emulator=()
traced=("qemu-$qemu") # runs a check for a plug-in, heap/emulated/trace.c
older_qemu=$(dirname "$(realpath "$1")")/tools/qemu # if that of this Debian takes no plug-in
[ ! -d "$older_qemu" ] || traced=("$older_qemu/run" "$qemu")
trace=("${traced[@]}" -plugin "$(realpath "$1")/link/trace.so")
if [ "$machine" != "$native" ]; then
    # Only the kernel's headers are used, which are a dependency of the machine's libc6-dev.
    packages+=("gcc-${triplet//_/-}" "libc6-dev-$debian-cross")
    emulator=("qemu-$qemu")
fi
