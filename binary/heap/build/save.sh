#!/usr/bin/env bash
# Make $1/work/saved, the executable with the saved heap, from $1/work/warm and $1/link/warm.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
cd "$1"

# Run where and under names that say nothing of this machine.
save() {
    env -i SAVED_HEAP_LAYOUT=/dev/fd/7 SAVED_HEAP=/dev/fd/8 bash -c 'cd / && exec /dev/fd/9 </dev/null' \
        7<>work/layout 8>work/memory 9<work/warm >save.log 2>&1 || { tail save.log >&2; return 1; }
}

write() { PYTHONPATH=$here/.. python/python -B "$here/write_executable.py" link/warm work/memory "$1"; }

# The first time to see what is freed again and what a check touches, the second time to lay the
# memory out by that.
: >work/layout
save
write work/traced
PYTHONPATH=packages:$here/.. python/python -B "$here/layout.py" work/memory work/traced work/layout
# A few blocks may live on that were freed in the first run; the layout then learns of them.
save || save
write work/saved
