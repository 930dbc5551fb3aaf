#!/usr/bin/env bash
# Gets the QEMU of Debian 12 for layout.py: that of Debian 13 is linked statically, so it takes no plug-in.
#
#   qemu.sh FOLDER   makes FOLDER/run, which is called with the name of a machine and the arguments
set -euo pipefail
. "$(dirname "$0")/../../../scripts/common.sh"
folder=$1

rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
private_apt bookworm -q
apt-get "${apt_options[@]}" update
# With the libraries that it links, except the C library, which is that of the machine.
apt-get "${apt_options[@]}" download qemu-user libcapstone4 libffi8 libglib2.0-0 libgmp10 libgnutls30 libhogweed6 \
    libidn2-0 libnettle8 libnuma1 libp11-kit0 libpcre2-8-0 libtasn1-6 libunistring2 liburing2 zlib1g
for package in *.deb; do dpkg-deb --extract "$package" .; done
rm -r apt ./*.deb
cat >run <<'END'
#!/bin/bash
here=$(dirname "$0")
exec /lib*/ld-linux-*.so.* --library-path "$(printf %s: "$here"/{,usr/}lib/*-linux-gnu)" "$here/usr/bin/qemu-$1" "${@:2}"
END
chmod +x run
