#!/usr/bin/env bash
# Gets the QEMU of Debian 12 for layout.py: that of Debian 13 is linked statically, so it takes no plug-in.
#
#   qemu.sh FOLDER   makes FOLDER/run, which is called with the name of a machine and the arguments
set -euo pipefail
folder=$1

rm -rf "$folder"
mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial}
cd "$folder"
# A private apt configuration, with the mirror that this machine uses.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | sed '/security/d' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" >apt/sources.list
options=(-q -o "Dir::Etc::sourcelist=$PWD/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache" -o Dir::State::status=/dev/null
    -o APT::Sandbox::User=)
apt-get "${options[@]}" update
# With what it links but the C library, which is the machine's.
apt-get "${options[@]}" download qemu-user libcapstone4 libffi8 libglib2.0-0 libgmp10 libgnutls30 libhogweed6 libidn2-0 \
    libnettle8 libnuma1 libp11-kit0 libpcre2-8-0 libtasn1-6 libunistring2 liburing2 zlib1g
for package in *.deb; do dpkg-deb --extract "$package" .; done
rm -r apt ./*.deb
cat >run <<'END'
#!/bin/bash
here=$(dirname "$0")
exec /lib*/ld-linux-*.so.* --library-path "$(printf %s: "$here"/{,usr/}lib/*-linux-gnu)" "$here/usr/bin/qemu-$1" "${@:2}"
END
chmod +x run
