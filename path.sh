# shellcheck shell=bash
# The environment; source it from any folder: . /path/to/path.sh
#
# The first time it makes .venv from requirements.txt; after that it is silent and immediate.
# XLSR_PYTHON=/env/bin/python names an environment of your own instead: nothing is installed then.

if [ -z "${BASH_VERSION:-}" ]; then
    echo "path.sh: source it with bash" >&2
    return 1
fi

_xlsr_environment() {
    local root bin
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || return 1
    if [[ -n ${XLSR_PYTHON:-} ]]; then
        bin=$(dirname "$XLSR_PYTHON")
        # What the recipe starts is called `python`, so the folder on the PATH must have one.
        if [[ $XLSR_PYTHON != /* || ! -x $XLSR_PYTHON ]]; then
            echo "path.sh: XLSR_PYTHON must be the absolute path of an environment's bin/python," \
                "got '$XLSR_PYTHON'" >&2
            return 1
        fi
        if [[ ! -x $bin/python ]]; then
            echo "path.sh: XLSR_PYTHON=$XLSR_PYTHON: $bin has no program called python, as an" \
                "environment's bin has" >&2
            return 1
        fi
        "$bin/python" "$root/espnet_local/bin/check.py" --missing >&2 || return 1
    else
        bin=$root/.venv/bin
        if [[ ! -x $bin/python ]] ||
            ! cmp -s "$root/requirements.txt" "$root/.venv/installed/requirements.txt"; then
            "$root/local/setup_env.sh" requirements.txt || return 1
        fi
    fi
    export PATH="$bin:$PATH"
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    export PYTHONUNBUFFERED=1  # so that logs and progress appear as they are written
}

if _xlsr_environment; then
    unset -f _xlsr_environment
else
    unset -f _xlsr_environment
    return 1
fi
