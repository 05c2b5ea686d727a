#!/usr/bin/env bash
# Prepares a corpus as Kaldi directories; see python -m local.corpora --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ ! -f path.sh ]] || . ./path.sh
exec python -m local.corpora "$@"
