# shellcheck shell=bash disable=SC2034,SC2154  # run.sh, which sources this, has the variables
# What run.sh's options say of the corpus. Sets
#     name         of data/<name> and exp/<name>_<size>
#     conf         whose changes in egs/xlsr_transducer/<conf>/conf count
#     corpus       with absolute paths
#     corpus_args  what local.corpora gets besides

# only_for <option> <corpus...>: refuses an option given with a corpus that has no use for it.
only_for() {
    local option=$1 listed
    shift
    [[ " ${given_options[*]} " != *" $option "* || " $* " == *" ${corpus%%:*} "* ]] && return
    printf -v listed '%s, ' "$@"
    usage_error "--$option needs --corpus ${listed%, }, got $corpus"
}

# The path behind the colon of --corpus, as an absolute one.
corpus_path() { realpath -ms -- "$(absolute "${corpus#*:}")"; }

describe_corpus() {
    only_for lang mini commonvoice
    only_for fsdd_dir fsdd
    only_for fsdd_split fsdd
    only_for corpus_dir ami commonvoice lhotse
    only_for mic ami
    only_for cv_train commonvoice
    only_for parts lhotse
    local kind=${corpus%%:*}
    conf=$kind corpus_args=()
    case $corpus in
        mini)
            corpus_args=(--lang "$lang")
            name=mini
            [[ $lang == en ]] || name+=_$lang
            ;;
        fsdd)
            [[ -n $fsdd_dir ]] || usage_error "--corpus fsdd needs --fsdd_dir, the folder that" \
                "holds the data set's recordings/<digit>_<speaker>_<number>.wav"
            corpus_args=(--fsdd_dir "$fsdd_dir" --fsdd_split "$fsdd_split")
            name=fsdd
            [[ $fsdd_split == official ]] || name+=_${fsdd_split//:/_}
            ;;
        ami)
            [[ -n $corpus_dir ]] || usage_error "--corpus ami needs --corpus_dir, the folder that" \
                "holds the corpus's audio and annotations"
            corpus_args=(--corpus_dir "$corpus_dir" --mic "$mic")
            name=ami_$mic
            ;;
        commonvoice)
            [[ -n $corpus_dir ]] || usage_error "--corpus commonvoice needs --corpus_dir, a" \
                "release's folder or tar"
            corpus_args=(--corpus_dir "$corpus_dir" --lang "$lang" --cv_train "$cv_train")
            name=commonvoice_$lang
            [[ $cv_train == train ]] || name+=_$cv_train
            ;;
        lhotse:?*)
            if [[ ${corpus#*:} == */* || -d $(absolute "${corpus#*:}") ]]; then
                corpus=lhotse:$(corpus_path)
            fi
            name=lhotse_$(basename "${corpus#*:}")
            corpus_args=(${corpus_dir:+--corpus_dir "$corpus_dir"} ${parts:+--parts "$parts"})
            ;;
        manifest:?*)
            corpus=manifest:$(corpus_path)
            name=$(basename "${corpus#*:}")
            name=manifest_${name%%.*}
            ;;
        kaldi:?*)
            corpus=kaldi:$(corpus_path)
            name=kaldi_$(basename "${corpus#*:}")
            ;;
        *)
            usage_error "--corpus must be mini, fsdd, ami, commonvoice," \
                "lhotse:<recipe or folder>, manifest:<file or folder> or kaldi:<folder>," \
                "got '$corpus'"
            ;;
    esac
}
