#!/usr/bin/env bash
# The recipe on commonvoice; every option of ../../../run.sh can follow.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../../../run.sh" --corpus commonvoice \
    --size xlsr53 --token_type bpe --vocab_size 500 "$@"
