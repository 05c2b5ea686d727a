#!/usr/bin/env bash
# Packs a finished sub-stage into one file to share, with a model card.
# Usage: local/pack_model.sh --model exp/mini_tiny/stage5b [--output model.zip] [--licence apache-2.0] [--force]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=path.sh
. ./path.sh
exec python -m espnet_local.bin.pack "$@"
