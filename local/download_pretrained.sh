#!/usr/bin/env bash
# Fetches a published encoder into pretrained/, or $XLSR_PRETRAINED, once; goes on where it stopped.
# Usage: local/download_pretrained.sh WAV2VEC2_XLSR53
#        local/download_pretrained.sh facebook/wav2vec2-large-xlsr-53 [--sha256 <of the weights>]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=path.sh
. ./path.sh
exec python -m local.pretrained "$@"
