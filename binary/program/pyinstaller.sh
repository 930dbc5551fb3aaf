#!/usr/bin/env bash
# Build two executables with PyInstaller in the build's directory $1: $1/work/cold, which is complete, and
# $1/work/warm, which is run to make the saved heap.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
. "$(dirname "$here")/machine.sh" "$1"
binary=$(dirname "$here")
root=$(dirname "$binary")
cd "$1"
"$interpreter" -I -S -B "$here/imported.py" ../packages linked "$root" "$binary/heap/build" >modules.txt
printf '%s\n' constants forget never_called servers start unused >>modules.txt

rm -rf work/cold work/warm work/pyinstaller
env -i PATH="$PWD/musl/bin:$PATH" HOME="$PWD/work" PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=0 PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH="../tools/pyinstaller:../tools:../packages:linked:$root:$binary/heap:$binary/heap/build:$binary/heap/product" \
    MODULES="$PWD/modules.txt" BOOTLOADERS="$PWD/link" ENTRIES="$binary/heap/product/cold.py $binary/heap/build/warm.py" \
    "$interpreter" -m PyInstaller --noconfirm --workpath work/pyinstaller --distpath work "$here/healthchecker.spec"
mv work/pyinstaller/healthchecker/{cold,warm} work
rm -r work/pyinstaller
