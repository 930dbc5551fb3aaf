#!/usr/bin/env bash
# Fetch the sources of all that is linked into the executables, and of PyInstaller, into directory $1.
#
#   fetch.sh DIRECTORY              the newest revision of each pinned version
#   fetch.sh DIRECTORY VERSIONS     the revisions that the file VERSIONS of an earlier build names
#   fetch.sh --compare DIRECTORY    fetch nothing; report what has a newer version than DIRECTORY
#
# Debian's packages: the upstream archive is pinned, and the Debian revision on top of it, which apt
# verifies by signature, may move on with security fixes. DIRECTORY/versions names what was fetched, and
# DIRECTORY/older has a line for each package of which apt's index lists a newer version. PyInstaller's sdist
# is pinned as a whole.
set -euo pipefail

PACKAGES="
python3.13  3.13.5                    93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640
musl        1.2.5                     a9a118bbe84d8764da0ea0d28b3ab3fae8477fc7e4085d90102b8596fc7c75e4
openssl     3.5.7                     a8c0d28a529ca480f9f36cf5792e2cd21984552a3c8e4aa11a24aa31aeac98e8
zlib        1.3.dfsg+really1.3.1      60dd315c07f616887caa029408308a018ace66e3d142726a97db164b3b8f69fb
"
PYINSTALLER=6.22.3
PYINSTALLER_SHA256=05eb2f5615503e72939a7224d68b4aff572c6b0438ee4a17d0a4b481f399362d

here=$(dirname "$(realpath "$0")")
compare=
[ "$1" != --compare ] || { compare=1 && shift; }
fixed=${2:+$(cat "$2")}
[ -n "$compare" ] || rm -rf "$1"  # nothing of an earlier version
mkdir -p "$1"
cd "$1"

# A private apt configuration with the mirrors of this machine, whose own configuration stays unchanged.
. /etc/os-release
mkdir -p apt/lists/partial apt/cache/archives/partial
key=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in "" -security; do
    mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' |
        awk -v release="$VERSION_CODENAME$suite" '$1 == release && !found { print $2; found = 1 }')
    [ -z "$mirror" ] || echo "deb-src [signed-by=$key] $mirror trixie$suite main"
done >apt/sources.list
if [ ! -s apt/sources.list ]; then
    echo "apt has no package source for $VERSION_CODENAME" >&2
    exit 1
fi
options=(-q -o "Dir::Etc::sourcelist=$PWD/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache" -o APT::Sandbox::User=)
apt-get "${options[@]}" update

# listed PACKAGE: all versions that the index lists, the newest first
listed() {
    apt-cache "${options[@]}" --only-source showsrc "$1" | sed -n 's/^Version: //p' |
        sort --version-sort --reverse --unique
}

# note_older PACKAGE VERSION: note when the index lists a newer version
note_older() {
    local newest
    newest=$(listed "$1" | head -n 1)
    ! dpkg --compare-versions "$newest" gt "$2" || echo "$1 $2 is older than $newest" >>older
}

# fetch PACKAGE UPSTREAM: the newest revision of this upstream version that the mirror has, or the fixed one
fetch() {
    local version versions
    versions=$(sed -n "s/^$1 //p" <<<"$fixed")
    [ -n "$versions" ] || versions=$(listed "$1" | grep -E "^([0-9]+:)?${2//+/[+]}-" || true)
    for version in $versions; do
        if apt-get "${options[@]}" source --download-only "$1=$version"; then
            echo "$1 $version" >>versions
            return
        fi
        echo "the mirror lists $1 $version but cannot serve it; trying an older revision" >&2
        rm -f "$1"_*.debian.* "$1"_*.dsc
    done
    echo "the mirror cannot serve the source of $1 ${versions:-$2}" >&2
    return 1
}

: >older
if [ -z "$compare" ]; then
    while read -r package upstream sha256; do
        fetch "$package" "$upstream"
        echo "$sha256  $(echo "${package}_$upstream".orig.tar.*z)" | sha256sum --check --strict -
    done < <(sed '/^$/d' <<<"$PACKAGES")
    python3 -B "$here/sdist.py" pyinstaller "$PYINSTALLER" "$PYINSTALLER_SHA256"
    echo "pyinstaller $PYINSTALLER" >>versions
fi
while read -r package version; do
    [ "$package" = pyinstaller ] || note_older "$package" "$version"
done <versions
