# The differences between the machines that executables are built for. To be sourced with a build's directory:
#   . machine.sh build/aarch64
# Machines have the names of `uname -m`. The executable for another machine is cross-built, and run by QEMU.
# shellcheck shell=bash disable=SC2034

machine=$(basename "$(realpath "$1")")
native=$(uname -m)

case $machine in
aarch64)
    debian=arm64
    flags=-mbranch-protection=none  # no marks at the start of each function, which cost time and space
    signed_wchar=no
    page=65536  # the largest that a kernel of this machine may have: 4, 16 or 64 KiB
    memory=     # libc's memcpy() and memmove() are Arm's own
    ;;
x86_64)
    debian=amd64
    flags=-fcf-protection=none  # as above
    signed_wchar=yes
    page=4096
    memory=memory.c  # libc's are slow for small copies
    ;;
*)
    echo "unsupported machine: $machine (expected x86_64 or aarch64)" >&2
    exit 1
    ;;
esac

tools=$machine-linux-gnu-
# The build's interpreter and the compiler of the build's programs are those of this machine.
interpreter=$(dirname "$(realpath "$1")")/$native/python/python
if [ "$machine" = "$native" ]; then
    packages=(valgrind)
    emulator=()
    trace=(valgrind --tool=lackey --trace-mem=yes --log-fd=9)
else
    # Only the kernel's headers are used, which are a dependency of the machine's libc6-dev.
    packages=("gcc-${machine//_/-}-linux-gnu" "libc6-dev-$debian-cross" qemu-user)
    emulator=("qemu-$machine")
    trace=("${emulator[@]}" -plugin "$(realpath "$1")/link/trace.so")
fi
