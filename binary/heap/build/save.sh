#!/usr/bin/env bash
# Make $1/work/saved, the executable with the saved heap, from $1/work/warm and $1/link/warm; and
# $1/left-out.txt, the list of functions that are not in it.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
. "$here/../../machine.sh" "$1"
cd "$1"

# Python looks up what it was started as, so that is a path of the same length wherever this is done.
place=$(mktemp -d /tmp/heap.XXXXXXXXXX)
trap 'rm -r "$place"' EXIT
cp work/warm "$place/warm"

# save 0|1: run where, under a name, in an environment and with signals that say nothing of this machine, or of how
# this was started; 1: for layout.py to watch
save() {
    (cd / && exec env -i --default-signal "${emulator[@]}" /dev/fd/9 /dev/fd/7 /dev/fd/8 /dev/fd/6 "$1") \
        6>left-out.txt 7<>work/layout 8>work/memory 9<"$place/warm" </dev/null >save.log 2>&1 ||
        { tail save.log >&2; return 1; }
}

write() { PYTHONPATH=$here/.. "$interpreter" -B "$here/write_executable.py" link/warm work/memory "$1"; }

# The first time to see what is freed again and what a check touches, then to lay the memory out by that.
# Where an object lies decides what it is found beside, so that a check of what has been laid out touches some
# hundred blocks more: with a second look, 148 page faults instead of 179, and a peak of 2.8 MiB instead of 4.7.
: >work/layout
save 1
for watched in 1 0; do
    write work/traced
    env -i PATH="$PATH" PYTHONPATH="../packages:$here/.." \
        "$interpreter" -B "$here/layout.py" work/memory work/traced work/layout "${trace[@]}"
    # A few blocks may live on that were freed in the run before; the layout then learns of them.
    save $watched || save $watched
done
write work/saved
