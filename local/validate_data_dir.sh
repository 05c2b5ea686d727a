#!/usr/bin/env bash
# Checks Kaldi data directories, ours or yours; see python -m local.validate_data --help.
# Usage: local/validate_data_dir.sh data/mini/train data/mini/dev data/mini/test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ ! -f path.sh ]] || . ./path.sh
exec python -m local.validate_data "$@"
