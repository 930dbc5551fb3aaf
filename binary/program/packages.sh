#!/usr/bin/env bash
# Install the Python packages that go into the executable, PyInstaller and what it needs below
# directory $1, in the versions of constraints.txt and of sources/fetch.sh.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
cd "$1"
rm -rf packages tools
install=(python3 -m pip -q install --no-deps --no-compile -c "$here/../../constraints.txt" --target)
"${install[@]}" packages certifi click h11 h2 hpack httpcore httpx hyperframe idna
"${install[@]}" tools altgraph packaging setuptools

"$here/../sources/unpack.sh" sources/pyinstaller-*.tar.gz tools/pyinstaller \
    "$here"/../sources/pyinstaller/patches/*.patch
# PyInstaller looks for libraries with ctypes, which the build's interpreter does not have.
mkdir tools/ctypes
touch tools/ctypes/__init__.py
echo 'def find_library(name): return None' >tools/ctypes/util.py

PYTHONPATH=packages python3 -B "$here/certifi_module.py" packages
