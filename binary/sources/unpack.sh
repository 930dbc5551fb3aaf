#!/usr/bin/env bash
# Unpack the source $1, an archive or a Debian .dsc file, into the new directory $2 and apply the patches in the other
# arguments. Each patch begins with its reason; one that does not apply is an error.
set -euo pipefail

rm -rf "$2"
case $1 in
*.dsc) dpkg-source --no-check --no-copy -x "$1" "$2" >/dev/null ;;  # apt has verified it
*) mkdir "$2" && tar -xf "$1" -C "$2" --strip-components=1 ;;
esac
for patch in "${@:3}"; do
    patch --directory="$2" --strip=1 --fuzz=0 --forward --silent <"$patch" ||
        { echo "$patch does not apply to $1" >&2; exit 1; }
done
