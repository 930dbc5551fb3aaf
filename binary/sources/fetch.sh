#!/usr/bin/env bash
# Fetch the sources of CPython (Debian's package) and of PyInstaller (its sdist) into directory $1,
# and check their hashes. CPython's upstream archive is pinned; the Debian revision on top of it,
# which apt verifies by signature, may move on with security fixes.
set -euo pipefail

PYTHON=3.13.5
PYTHON_SHA256=93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640
PYINSTALLER=6.22.3
PYINSTALLER_SHA256=05eb2f5615503e72939a7224d68b4aff572c6b0438ee4a17d0a4b481f399362d

rm -rf "$1"  # nothing of an earlier version
mkdir -p "$1"
cd "$1"

# A private apt configuration, with the mirrors that this machine uses: its own stays as it is.
. /etc/os-release
mkdir -p apt/lists/partial apt/cache/archives/partial
key=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in "" -security; do
    mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' |
        awk -v release="$VERSION_CODENAME$suite" '$1 == release && !found { print $2; found = 1 }')
    [ -z "$mirror" ] || echo "deb-src [signed-by=$key] $mirror trixie$suite main"
done >apt/sources.list
if [ ! -s apt/sources.list ]; then
    echo "no package source for $VERSION_CODENAME in apt's configuration" >&2
    exit 1
fi
apt=(apt-get -q -o "Dir::Etc::sourcelist=$PWD/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache" -o APT::Sandbox::User=)
"${apt[@]}" update
"${apt[@]}" source --download-only "python${PYTHON%.*}"
python3 -m pip -q download --no-deps --no-binary pyinstaller -d . "pyinstaller==$PYINSTALLER"

sha256sum --check --strict - <<END
$PYTHON_SHA256  python${PYTHON%.*}_$PYTHON.orig.tar.xz
$PYINSTALLER_SHA256  pyinstaller-$PYINSTALLER.tar.gz
END
