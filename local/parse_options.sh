# shellcheck shell=bash
# Options from the script that sources this, right after its `cd` to the recipe's root. Each of its
# lines of the form
#     name=default  #| kind | help
# is an option --name. `parse_options <stage table> "$@"` sets the variables and ends the script
# with status 2 and one line on a mistake. Pure bash: it works before there is an environment.
#
# kind: flag            --name, or --name true|false
#       int MIN [MAX]   a whole number
#       one_of A B ...  one of these words
#       match REGEX     text of this form
#       path            a file or folder; relative to where the user called from
#       text            anything

caller_dir=$OLDPWD
called_as=$0
given_options=()

log() { echo "$(date '+%Y-%m-%d %H:%M:%S') $*" >&2; }

# usage_error <text>: a mistake in the call.
usage_error() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# absolute <path>: as seen from where the user called; paths below the recipe stay short.
absolute() {
    if [[ $1 == /* || $caller_dir == "$PWD" ]]; then echo "$1"; else echo "$caller_dir/$1"; fi
}

# own_call <name...>: the user's call with its options but for those, each as it was understood.
own_call() {
    local name
    printf %s "$called_as"
    for name in "${given_options[@]}"; do
        [[ " $* " == *" $name "* ]] || printf ' --%s %q' "$name" "${!name}"
    done
}

_trim() {
    local text=$1
    text=${text#"${text%%[![:space:]]*}"}
    echo "${text%"${text##*[![:space:]]}"}"
}

# _distance <a> <b>: how many letters to insert, delete or replace (Levenshtein).
_distance() {
    local a=$1 b=$2 i j cost best
    local -a row above
    for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
    for ((i = 1; i <= ${#a}; i++)); do
        above=("${row[@]}")
        row[0]=$i
        for ((j = 1; j <= ${#b}; j++)); do
            cost=1
            [[ ${a:i-1:1} != "${b:j-1:1}" ]] || cost=0
            best=$((above[j - 1] + cost))
            ((above[j] + 1 >= best)) || best=$((above[j] + 1))
            ((row[j - 1] + 1 >= best)) || best=$((row[j - 1] + 1))
            row[j]=$best
        done
    done
    echo "${row[${#b}]}"
}

# _hint <word>: ", did you mean '--x'?" for the nearest option, nothing when none is near.
_hint() {
    local name distance nearest="" least=$(((${#1} + 2) / 2))
    for name in "${_names[@]}" help; do
        distance=$(_distance "$1" "$name")
        if ((distance < least)); then least=$distance nearest=$name; fi
    done
    [[ -z $nearest ]] || echo ", did you mean '--$nearest'?"
}

_usage() {
    local name default
    echo "Usage: $0 [options]"
    echo
    echo "$1"
    echo
    echo "Options:"
    for name in "${_names[@]}"; do
        default=${!name}
        [[ -z $default || $default == false ]] && default="" || default=" ($default)"
        printf '  --%-13s %s%s\n' "$name" "${_helps[$name]}" "$default"
    done
}

# _check <name> <value>: sets the variable, or says what is wrong with the value.
_check() {
    local name=$1 value=$2 kind=${_kinds[$1]} rest
    rest=${kind#* }
    case $kind in
        int*)
            local least=${rest% *} most=${rest#* }
            [[ $rest == *" "* ]] || most=""
            [[ $value =~ ^-?[0-9]{1,9}$ ]] ||
                usage_error "--$name must be a whole number, got '$value'"
            ((10#${value#-} == 0)) || value=${value%%[0-9]*}$((10#${value#-}))
            ((value >= least)) || usage_error "--$name must be >= $least, got $value"
            [[ -z $most ]] || ((value <= most)) || usage_error "--$name must be <= $most, got $value"
            ;;
        one_of*)
            [[ " $rest " == *" $value "* ]] ||
                usage_error "--$name must be one of ${rest// /, }, got '$value'"
            ;;
        match*)
            [[ $value =~ $rest ]] || usage_error "--$name: '$value' does not fit (${_helps[$name]})"
            ;;
        flag)
            [[ $value == true || $value == false ]] ||
                usage_error "--$name must be true or false, got '$value'"
            ;;
        path)
            [[ -n $value ]] || usage_error "--$name must name a path, got ''"
            value=$(absolute "$value")
            ;;
    esac
    printf -v "$name" '%s' "$value"
}

parse_options() {
    local line name argument table=$1
    local -a _names=()
    local -A _kinds=() _helps=()
    shift
    while IFS= read -r line; do
        [[ $line =~ ^([a-z_]+)=.*\#\|([^|]*)\|(.*)$ ]] || continue
        name=${BASH_REMATCH[1]}
        _names+=("$name")
        _kinds[$name]=$(_trim "${BASH_REMATCH[2]}")
        _helps[$name]=$(_trim "${BASH_REMATCH[3]}")
    done <"${BASH_SOURCE[1]##*/}"

    while (($#)); do
        argument=$1
        shift
        if [[ $argument == --help || $argument == -h ]]; then
            _usage "$table"
            exit 0
        fi
        [[ $argument == --* ]] || usage_error "unexpected argument '$argument' (options start with --)"
        name=${argument#--}
        name=${name%%=*}
        name=${name//-/_}
        [[ -n $name && -n ${_kinds[$name]:-} ]] ||
            usage_error "unknown option '${argument%%=*}'$(_hint "$name") (--help lists them)"
        if [[ $argument == *=* ]]; then
            _check "$name" "${argument#*=}"
        elif [[ ${_kinds[$name]} == flag && ${1:-} != true && ${1:-} != false ]]; then
            _check "$name" true
        else
            (($#)) || usage_error "--$name needs a value"
            _check "$name" "$1"
            shift
        fi
        [[ " ${given_options[*]} " == *" $name "* ]] || given_options+=("$name")
    done
}
