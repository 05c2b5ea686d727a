# shellcheck shell=bash disable=SC2034  # run.sh, which sources this, uses the arrays
# Where jobs run: the program in front of each training (train_cmd on the CPU, cuda_cmd on GPUs)
# and decoding job. cmd_backend=... ./run.sh chooses another one.
#
# Every one takes the arguments of Kaldi's run.pl, slurm.pl and queue.pl, so those can be named in
# a branch of your own, for example
#     slurm) train_cmd=(slurm.pl --mem 8G) ...
# Progress shows on the terminal with `local` only; elsewhere it is in the logs, exp/<tag>/log.
case ${cmd_backend:=local} in
    local)
        train_cmd=(local/submit.py)
        cuda_cmd=(local/submit.py)
        decode_cmd=(local/submit.py --num-threads 1)
        ;;
    *)
        echo "cmd.sh: cmd_backend must be local, got '$cmd_backend'" >&2
        return 1
        ;;
esac
