# shellcheck shell=bash disable=SC2034  # run.sh, which sources this, uses the arrays
# Where jobs run: the program in front of each training (train_cmd on the CPU, cuda_cmd on GPUs)
# and decoding job. cmd_backend=slurm ./run.sh chooses another one than this machine.
#
# Every one takes the arguments of Kaldi's run.pl, slurm.pl and queue.pl, so those can be named in
# a branch of your own, for example
#     kaldi) train_cmd=(slurm.pl --mem 8G) ...
# What an option becomes on your cluster is said in conf/slurm.conf and conf/queue.conf. --mem is
# the memory of one job: of this machine, no more jobs are started than it carries.
# cmd_config=/my/slurm.conf names a file of yours instead.
case ${cmd_backend:=local} in
    local)
        train_cmd=(local/submit.py)
        cuda_cmd=(local/submit.py)
        decode_cmd=(local/submit.py --num-threads 1 --mem 2G)
        ;;
    slurm | sge)
        submit=(local/submit.py --backend "$cmd_backend" ${cmd_config:+--config "$cmd_config"})
        train_cmd=("${submit[@]}" --mem 16G --time 24:00:00 --num-threads 4)
        cuda_cmd=("${submit[@]}" --mem 48G --time 24:00:00 --num-threads 8)
        # A failed part of the decoding may have met a bad node: it is tried once more.
        decode_cmd=("${submit[@]}" --mem 8G --time 12:00:00 --num-threads 1 --retries 1)
        ;;
    *)
        echo "cmd.sh: cmd_backend must be local, slurm or sge, got '$cmd_backend'" >&2
        return 1
        ;;
esac
