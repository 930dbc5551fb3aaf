# Functions of several scripts. To be sourced in the root of the repository.
# shellcheck shell=bash

# head_of SCRIPT: the comment at the head of a script, which is its documentation
head_of() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1"; }

# usage_of SCRIPT ARGUMENT...: if -h or --help is among the arguments, print the documentation and exit
usage_of() {
    local script=$1 argument
    shift
    for argument in "$@"; do
        case $argument in
        -h | --help)
            head_of "$script"
            exit 0
            ;;
        --) break ;;
        esac
    done
}

# fail SCRIPT MESSAGE...
fail() {
    local script=$1
    shift
    printf 'scripts/%s: %s\n' "${script##*/}" "$*" >&2
    exit 1
}

# misused SCRIPT [MESSAGE...]: print MESSAGE and the usage lines of the documentation; exit 1
misused() {
    local script=$1
    shift
    [ $# = 0 ] || printf 'scripts/%s: %s\n' "${script##*/}" "$*" >&2
    # A deeply indented line after a usage line continues it.
    head_of "$script" | sed -n -e "/^ \{2,\}scripts\/${script##*/}/{s/^ */usage: /p;n;:more" \
        -e "/^ \{12,\}[^ ]/{s/^/     /p;n;b more" -e '}' -e "s/^ \{2,\}\(scripts\/${script##*/}\)/usage: \1/p" -e '}' >&2
    exit 1
}

# progress LABEL COMMAND...: run it, with the label and a dot each second on standard error in the meantime; the
# status is the command's. Its output goes to the file $PROGRESS_FILE if that is set. If it fails, $PROGRESS_WHY is one
# sentence about the reason, and the last $PROGRESS_LINES lines (40) are printed, unless the reason is $OFFLINE.
progress() {
    local label=$1 begun=$SECONDS status=0 log dots
    shift
    log=${PROGRESS_FILE:-$(mktemp)}
    printf '%s ' "$label" >&2
    # It ends by itself if this script is killed.
    while sleep 1 && kill -0 $$ 2>/dev/null; do printf .; done >&2 &
    dots=$!
    "$@" >"$log" 2>&1 || status=$?
    kill "$dots" 2>/dev/null || true
    wait "$dots" 2>/dev/null || true
    printf ' %s s\n' $((SECONDS - begun)) >&2
    if [ "$status" != 0 ]; then
        PROGRESS_WHY=$(why "$log")
        [ "$PROGRESS_WHY" = "$OFFLINE" ] || tail -n "${PROGRESS_LINES:-40}" "$log" >&2
    fi
    [ -n "${PROGRESS_FILE:-}" ] || rm -f "$log"
    return "$status"
}

# is_installed PACKAGE: whether a Debian package is installed
is_installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# install_packages SCRIPT PACKAGE...: install Debian packages, or tell the user how to
install_packages() {
    local script=$1 shown
    shift
    [ $# -gt 0 ] || return 0
    [ $# -gt 5 ] && shown="$# packages" || shown=$*
    if [ "$(id -u)" != 0 ]; then
        fail "$script" "missing packages: run  sudo apt-get update && sudo apt-get install $*  and start again"
    fi
    export DEBIAN_FRONTEND=noninteractive
    PROGRESS_LINES=0 progress "${script##*/}: apt-get update" with_apt_lock apt-get update -qq || true # install reports missing packages
    PROGRESS_LINES=0 progress "${script##*/}: apt-get install $shown" \
        apt-get -o DPkg::Lock::Timeout=600 install -qq --no-install-recommends "$@" ||
        fail "$script" "apt-get could not install $shown: $PROGRESS_WHY"
}

# with_apt_lock COMMAND...: run apt-get; while another one holds the lock of the package lists, run it again
with_apt_lock() {
    local end=$((SECONDS + 600)) output status
    while true; do
        status=0
        output=$("$@" 2>&1) || status=$?
        [[ "$output" = *"Could not get lock"* ]] && [ $SECONDS -lt $end ] || break
        sleep 1
    done
    printf '%s\n' "$output"
    return "$status"
}

# private_apt SUITE [OPTION...]: set $apt_options, with which apt gets packages of SUITE from the mirror of this machine.
# Its configuration is in ./apt; that of the machine stays unchanged.
private_apt() {
    local mirror
    mkdir -p apt/{lists/partial,cache/archives/partial}
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | sed '/security/d' | head -n 1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" >apt/sources.list
    apt_options=(-o "Dir::Etc::sourcelist=$PWD/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache" -o Dir::State::status=/dev/null
        -o APT::Sandbox::User= "${@:2}")
}

OFFLINE="no connection to the package server; is this machine online?"
# As apt, pip and wget report it. It must not match a dependency that pip cannot resolve.
NO_CONNECTION="(failure|failed|not|unable) (to )?resolv(ing|e host|e ')|name resolution|network is unreachable"
NO_CONNECTION+="|no route to host|could not connect|failed: connection (refused|timed out)|newconnectionerror|max retries"
NO_CONNECTION+="|proxyerror|connect to proxy"

# why LOG: one sentence about why a command failed, a download in particular
why() {
    if grep -qiE "$NO_CONNECTION" "$1"; then
        echo "$OFFLINE"
    else
        { grep -E '(ERROR|E): ' "$1" || cat "$1"; } | tail -n 1 | sed 's/^ *//'
    fi
}

# engine_is_forbidden: whether a Docker engine runs that this user may not use
engine_is_forbidden() { [[ "$(docker info 2>&1)" = *[Pp]'ermission denied'* ]]; }
# shellcheck disable=SC2034
FORBIDDEN="a Docker engine runs, but you may not use it: run this as root, or join the group docker and log in again"

# need_engine SCRIPT
need_engine() {
    docker info >/dev/null 2>&1 && return
    command -v docker >/dev/null || fail "$1" "Docker is not installed: run scripts/engine start"
    ! engine_is_forbidden || fail "$1" "$FORBIDDEN"
    fail "$1" "no Docker engine runs: run scripts/engine start"
}
