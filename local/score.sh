#!/usr/bin/env bash
# Word error rates of everything decoded in an experiment.
# Usage: local/score.sh --expdir exp/mini_tiny --data data/mini --sets test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=path.sh
. ./path.sh
exec python -m espnet_local.bin.score "$@"
