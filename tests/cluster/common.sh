# shellcheck shell=bash
# What starting a scheduler takes, whichever it is.

as_root=()
if ((EUID != 0)); then as_root=(sudo); fi

# new_folder <folder>: makes it and prints its absolute path.
new_folder() {
    (($# == 1)) || { echo "$0: needs a folder" >&2; return 2; }
    mkdir -p "$1"
    [[ -z $(ls -A "$1") ]] || { echo "$0: $1 must be empty" >&2; return 1; }
    (cd "$1" && pwd)
}

install_packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    "${as_root[@]}" apt-get update -q </dev/null >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy \
        --no-install-recommends "${missing[@]}" </dev/null >&2
}

# The daemons address the machine by its name.
resolve_own_name() {
    getent hosts "$(hostname)" | grep -q '^127\.' && return
    echo "127.0.0.1 $(hostname)" | "${as_root[@]}" tee -a /etc/hosts >/dev/null
}

# start <name> <command...>: a daemon with a session of its own, in $folder; stop.sh ends it.
start() {
    : "${folder:?}"
    setsid "${@:2}" </dev/null >"$folder/$1.out" 2>&1 &
    echo $! >"$folder/$1.pid"
}

# wait_for <what> <command...>: until it succeeds.
wait_for() {
    for _ in {1..300}; do
        if "${@:2}"; then return; fi
        sleep 0.1
    done
    echo "$0: $1 did not come up; see $folder" >&2
    return 1
}
