#!/usr/bin/env bash
# The recipe on ami; every option of ../../../run.sh can follow.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../../../run.sh" --corpus ami \
    --size xlsr53 --token_type bpe --vocab_size 500 "$@"
