#!/usr/bin/env bash
# Make $1/work/saved, the executable with the saved heap, from $1/work/warm and $1/link/warm, and
# $1/left-out.txt, the list of the functions that it lacks. With `stressed` as $2, make $1/stressed/healthchecker instead,
# by the layout that $1/work/saved has: all but what a plain check writes to is in zone COLD, so each check unpacks nearly
# every chunk, and accesses nothing that is not unpacked. For scripts/stress.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
. "$here/../../machine.sh" "$1"
cd "$1"
work=${2:-work}

# Python keeps the path that it was started by, so that path has the same length everywhere.
place=$(mktemp -d /tmp/heap.XXXXXXXXXX)
trap 'rm -r "$place"' EXIT
cp work/warm "$place/warm"

# Any processor, but one: whether a response is there when it is first looked for decides the order of allocations.
processor=$(taskset --cpu-list --pid $$ | sed 's/.*: *\([0-9]*\).*/\1/')

# save 0|1: run with a directory, name, environment and signals that do not depend on this machine or on how this
# script was started; 1: for layout.py to trace. The output is a pipe: for a file, the program starts a thread, which
# frees blocks in another order in each run.
save() {
    (cd / && exec taskset --cpu-list "$processor" env -i --default-signal "${emulator[@]}" /dev/fd/9 /dev/fd/7 /dev/fd/8 /dev/fd/6 "$1") \
        6>left-out.txt 7<>"$work/layout" 8>"$work/memory" 9<"$place/warm" </dev/null 2>&1 | cat >run.log ||
        { tail run.log >&2; return 1; }
    allocations=$(sed -n 's/^allocations: //p' run.log)
    # Otherwise blocks get into wrong zones: the executable would be correct, but large and slow.
    if [ -z "$allocations" ] || [ "$allocations" != "${first:=$allocations}" ]; then
        echo "the runs allocate differently: expected $first allocations, got $allocations" >&2
        return 1
    fi
}

write() { PYTHONPATH=$here/.. "$interpreter" -B "$here/write_executable.py" link/warm "$work/memory" "$@"; }

first=
if [ "$work" = stressed ]; then
    mkdir -p stressed
    tr '\2-\5' '\0' <work/layout >stressed/layout # the numbers of zones, see constants.py
    save 0 || save 0
    write stressed/healthchecker link/compress "$most_bytes"
    exit
fi

# The first run shows what is freed and what checks touch; the next runs lay out the memory accordingly. The order of
# objects in memory decides the order of searches, so a check touches some hundred more blocks of the new layout: with a
# second look, 148 page faults instead of 179, and a peak of 2.8 MiB instead of 4.7.
: >work/layout
save 1
for look in usual all; do
    write work/traced
    env -i PATH="$PATH" PYTHONPATH="../packages:$here/.." \
        "$interpreter" -B "$here/layout.py" work/memory work/traced work/layout "$look" "${trace[@]}"
    # A few blocks may be live that were freed in the previous run; the layout is then updated.
    watched=$([ $look = all ] && echo 0 || echo 1)
    save "$watched" || save "$watched"
done
write work/saved link/compress "$most_bytes"
