#!/usr/bin/env bash
# Makes or updates .venv from a pinned list: local/setup_env.sh requirements.txt
#
# A copy of the list in .venv/installed/, written last, says that it is in place: a set-up that was
# interrupted has none and is redone, a list that changed updates the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv_version=0.13.9
list=${1:?"usage: local/setup_env.sh <requirements file>"}
installed=.venv/installed/$list

log() { echo "$(date '+%Y-%m-%d %H:%M:%S') $*" >&2; }
die() { echo "$(basename "$0"): $*" >&2; exit 1; }
is_installed() { [[ -x .venv/bin/python ]] && cmp -s "$list" "$installed"; }

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.10 python3; do
        if "$candidate" -c 'import ensurepip, sys, venv
sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "found no Python 3.10, 3.11 or 3.12 with its venv module: install one" \
        "(Debian: apt-get install python3-venv) or name an environment's python in XLSR_PYTHON"
}

# Runs a command with its output in the log, and shows the log's end when it fails.
quietly() {
    echo "+ $*" >>.venv/setup.log
    "$@" >>.venv/setup.log 2>&1 </dev/null && return
    tail -n 20 .venv/setup.log >&2
    die "setting up the environment failed: see .venv/setup.log"
}

# Outside .venv the environment is the user's own, and so is what it holds.
[[ -z ${XLSR_PYTHON:-} ]] || exit 0
is_installed && exit 0
python=$(find_python)

[[ ! -e .venv || -e .venv.lock ]] ||
    die ".venv was not made by path.sh: move it away, or name its python in XLSR_PYTHON"

# Two first uses at once: the second waits here, then finds the work done. The lock is the open
# file's, so it goes with this script however that ends; the file stays, to say who made .venv.
exec 9>.venv.lock
"$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
is_installed && exit 0

if [[ ! -x .venv/bin/python || ! -e .venv/installed/requirements.txt ]]; then
    log "setting up the environment in .venv (once, a minute or two)"
    rm -rf .venv
    mkdir .venv
    quietly "$python" -m venv .venv
    quietly .venv/bin/python -m pip install "uv==$uv_version"
    mkdir .venv/installed
else
    log "updating the environment in .venv from $list"
fi
# Until the end the list counts as not installed; an interrupted update of the main one starts
# over from an empty folder.
rm -f "$installed"
# The lists are complete; ESPnet's own list would bring back what they leave out on purpose.
quietly .venv/bin/uv pip install --python .venv/bin/python --no-deps -r "$list"
cp "$list" "$installed.new"
mv "$installed.new" "$installed"
log "the environment is ready"
