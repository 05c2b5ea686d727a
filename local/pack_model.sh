#!/usr/bin/env bash
# Packs a finished sub-stage into one file to share, with a model card.
# Usage: local/pack_model.sh --model exp/mini_tiny/stage5b [--output model.zip] [--licence apache-2.0] [--force]
# Paths are relative to where it is called from.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
export PYTHONSAFEPATH=1 # from Python 3.11 on: no module is taken from the caller's folder
exec python -m espnet_local.bin.pack "$@"
