#!/usr/bin/env bash
# Install the Python packages of the executable, PyInstaller and its dependencies below directory $1. Each file is
# compared with its hash, in packages.txt, tools.txt or sources/fetch.sh, before any of its code runs.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
cd "$1"
rm -rf packages tools
for folder in packages tools; do
    python3 -m pip -q install --no-deps --no-compile --only-binary :all: --require-hashes --target "$folder" -r "$here/$folder.txt"
done

"$here/../sources/unpack.sh" sources/pyinstaller-*.tar.gz tools/pyinstaller \
    "$here"/../sources/pyinstaller/patches/*.patch
# PyInstaller looks for libraries by ctypes, which the build's interpreter lacks.
mkdir tools/ctypes
touch tools/ctypes/__init__.py
echo 'def find_library(name): return None' >tools/ctypes/util.py

PYTHONPATH=packages python3 -B "$here/certifi_module.py" packages
cp "$here/gettext_module.py" packages/gettext.py
