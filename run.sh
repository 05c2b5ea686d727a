#!/usr/bin/env bash
# From a corpus to a WER table: data, tokens, five training stages, decoding, scoring.
# Every step skips itself when its inputs have not changed, and goes on where it was killed.
[ -n "${BASH_VERSION:-}" ] || { echo "run.sh: run it with bash" >&2; exit 2; }
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. local/parse_options.sh
. local/corpus_options.sh

stages="Stages:
  -1  data      the corpus as Kaldi folders              data/<corpus>/{train,dev,test}
   0  tokens    SentencePiece model, token list; a page  data/<corpus>/{token_list,STATISTICS.md}
   1  training  full context                             exp/<tag>/stage1
   2            chunks of 320, 640, 1280, 2560 ms        exp/<tag>/stage2a ... 2d
   3            left context of 1, 2, all chunks         exp/<tag>/stage3a ... 3c
   4            chunk and left context drawn per batch   exp/<tag>/stage4
   5            attention sinks of 4, 16 frames          exp/<tag>/stage5a, 5b
   6  decode    every trained model                      exp/<tag>/stage*/decode_*
   7  score     the WER table                            exp/<tag>/RESULTS.md
  Data and tokens are made whenever a later stage needs them."

# name=default  #| kind | help; the kinds are explained in local/parse_options.sh.
stage=-1            #| int -1 7 | first stage
stop_stage=7        #| int -1 7 | last stage
substage=           #| match ^([1-5][a-z]?(,[1-5][a-z]?)*)?$ | train only these, such as 2b or 2a,2b
corpus=mini         #| text | mini, fsdd, ami, commonvoice, or lhotse:, manifest:, kaldi: and what, see README
corpus_dir=         #| path | what ami, commonvoice or lhotse:<recipe> came as: a folder, or a tar
size=tiny           #| match ^[A-Za-z0-9_-]+$ | of the model: tiny, xlsr53, xlsr53_40gb, ...; a file in conf/
dry_run=false       #| flag | only measure what memory and time training will take
debug=false         #| flag | the whole run on a sliver of data, in folders of its own
ngpu=0              #| int 0 | GPUs to train on; 0 is the CPU
nj=$(nproc)         #| int 1 | parallel jobs for data and decoding
seed=1              #| int 0 | of training
data=data           #| path | where prepared corpora go
expdir=exp          #| path | where models and results go
tag=                #| match ^[^/[:space:]]*$ | name of the experiment; <corpus>_<size> when empty
sets="test"         #| match ^[^,[:space:]]+(,[^,[:space:]]+)*$ | sets to decode, such as dev,test
token_type=char     #| one_of unigram bpe char | kind of tokens: unigram, bpe or char
vocab_size=500      #| int 1 | number of tokens (unigram and bpe)
pretrained=         #| text | checkpoint, folder, Hugging Face id or bundle for stage 1; or the size's
trust_pickle=false  #| flag | the pretrained checkpoint may execute what it holds
lang=en             #| match ^[A-Za-z-]+$ | of mini: en, de or es; of commonvoice: any
audio_format=flac.ark  #| one_of flac.ark wav flac | how prepared audio is stored: flac.ark, wav or flac
fsdd_dir=           #| path | folder laid out like the Free Spoken Digit Dataset
fsdd_split=official #| text | how fsdd is split: official, or speaker:<name> to hold out a speaker
mic=ihm             #| one_of ihm sdm | microphone of ami: headsets or one distant
cv_train=train      #| one_of train validated | what commonvoice trains on; validated is without dev and test
parts=              #| text | of a lhotse corpus, such as train=a+b,dev=c,test=d
parse_options "$stages" "$@"

((stage <= stop_stage)) || usage_error "--stage must be <= --stop_stage, got $stage > $stop_stage"
for sub in ${substage//,/ }; do
    ((stage <= ${sub:0:1} && ${sub:0:1} <= stop_stage)) ||
        usage_error "--substage $sub is not in stages $stage to $stop_stage"
done
describe_corpus
[[ $dry_run == false || ($stage -le 5 && $stop_stage -ge 1) ]] ||
    usage_error "--dry_run measures stages 1 to 5, got $stage to $stop_stage"
[[ -z $pretrained || ! -e $(absolute "$pretrained") ]] || pretrained=$(absolute "$pretrained")
# For hints on what to run.
XLSR_CALL=$(own_call stage stop_stage substage dry_run)
export XLSR_CALL

debug_suffix=""
debug_flag=()
if [[ $debug == true ]]; then debug_suffix=_debug debug_flag=(--debug); fi
dir=$data/$name$debug_suffix
exp=$expdir/${tag:-${name}_$size}$debug_suffix
token_list=token_list/$token_type
[[ $token_type == char ]] || token_list+=_$vocab_size
tokens=$dir/$token_list
IFS=, read -ra test_sets <<<"$sets"

. ./path.sh
. ./cmd.sh

timed() { # timed <stage> <command...>
    local begin=$SECONDS
    log "stage $1"
    "${@:2}"
    log "stage $1 done in $((SECONDS - begin)) s"
}

dry_flag=()
if [[ $dry_run == true ]]; then dry_flag=(--dry_run); fi
shared_tokens=()
from_mini=false
makes_pretrained=()
if [[ $corpus == fsdd && $size == tiny && -z $pretrained ]]; then
    from_mini=true makes_pretrained=(--makes_pretrained)
    pretrained=$expdir/mini_$size$debug_suffix/stage1/valid.wer.best.pth
    shared_tokens=(--reuse "$data/mini$debug_suffix/$token_list")
fi
data_call=(python -m local.corpora --corpus "$corpus" --output "$dir" --nj "$nj"
    --audio_format "$audio_format" "${corpus_args[@]}" "${debug_flag[@]}")
training=(--data "$dir" --tokens "$tokens" --size "$size" --corpus "$conf" --expdir "$exp"
    --ngpu "$ngpu" --seed "$seed" ${pretrained:+--pretrained "$pretrained"} "${debug_flag[@]}")
if [[ $trust_pickle == true ]]; then training+=(--trust_pickle); fi

# Mistakes in the call are found before anything is made.
"${data_call[@]}" --check
to_fetch=$(python -m local.preflight --stage "$stage" --stop_stage "$stop_stage" \
    ${substage:+--substage "$substage"} --sets "${test_sets[@]}" --backend "$cmd_backend" \
    ${cmd_config:+--backend_config "$cmd_config"} "${makes_pretrained[@]}" "${dry_flag[@]}" \
    "${training[@]}")

if [[ $from_mini == true ]]; then
    last=$((stop_stage < 1 ? stop_stage : 1))
    if [[ $dry_run == true ]]; then last=0; fi
    log "fsdd starts from the mini model: running mini up to stage $last, where that is not done"
    ./run.sh --corpus mini --stop_stage "$last" --size "$size" \
        --ngpu "$ngpu" --nj "$nj" --seed "$seed" --data "$data" --expdir "$expdir" \
        --token_type "$token_type" --vocab_size "$vocab_size" \
        --audio_format "$audio_format" "${debug_flag[@]}"
fi

# What a stage needs is made first, whichever stage was asked for.
((stage < 1)) || log "stage $stage needs data and tokens: making what is missing"
timed -1 "${data_call[@]}"
((stop_stage >= 0)) || exit 0

timed 0 python -m local.tokens --text "$dir/train/text" --type "$token_type" \
    --vocab_size "$vocab_size" --output "$tokens" --sets "$dir/train" "$dir/dev" \
    "${shared_tokens[@]}"
python -m local.corpus_statistics --data "$dir" --tokens "$tokens"

if [[ $dry_run == true ]]; then
    measure=("${train_cmd[@]}")
    if ((ngpu > 0)); then measure=("${cuda_cmd[@]}" --gpu 1); fi
    "${measure[@]}" "$exp/log/dry_run.log" python -m espnet_local.bin.dry_run \
        --stage "$stage" --stop_stage "$stop_stage" ${substage:+--substage "$substage"} \
        "${training[@]}"
    exit
fi
[[ -z $to_fetch ]] || local/download_pretrained.sh "$to_fetch"

# Jobs are started, and their logs written, only where --pending names something that is not done.
train() { # train <stage>
    local chosen pending run=("${train_cmd[@]}")
    if ((ngpu > 0)); then run=("${cuda_cmd[@]}" --gpu "$ngpu"); fi
    # Of --substage 2b,3a stage 2 trains 2b.
    chosen=$(tr , '\n' <<<"$substage" | grep "^$1" | paste -sd, || true)
    local call=(python -m espnet_local.bin.train --stage "$1" ${chosen:+--substage "$chosen"}
        "${training[@]}")
    pending=$("${call[@]}" --pending)
    [[ -z $pending ]] || "${run[@]}" "$exp/log/train_stage$1.log" "${call[@]}"
}
for s in 1 2 3 4 5; do
    ((stage <= s && s <= stop_stage)) || continue
    [[ -z $substage || ,$substage == *",$s"* ]] || continue
    timed "$s" train "$s"
done

decode() {
    local pending jobs=$nj device=cpu run=("${decode_cmd[@]}")
    if ((ngpu > 0)); then jobs=$ngpu device=cuda run=("${cuda_cmd[@]}" --gpu 1); fi
    local call=(python -m espnet_local.bin.decode --expdir "$exp" --data "$dir"
        --sets "${test_sets[@]}" --device "$device" "${debug_flag[@]}")
    pending=$("${call[@]}" --pending)
    [[ -n $pending ]] || return 0
    "${run[@]}" JOB=1:"$jobs" "$exp/log/decode.JOB.log" "${call[@]}" --shard JOB/"$jobs"
    "${call[@]}" --merge "$jobs"
}
if ((stage <= 6 && stop_stage >= 6)); then timed 6 decode; fi

if ((stop_stage >= 7)); then
    timed 7 python -m espnet_local.bin.score --expdir "$exp" --data "$dir" --sets "${test_sets[@]}"
    [[ $debug == false ]] ||
        log "the WERs of a debug run mean nothing: it only shows that everything works"
fi
