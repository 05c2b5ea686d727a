#!/usr/bin/env bash
# Installs what a single-node Slurm needs (Debian, as root or with sudo) and starts one on loopback.
#
#     tests/cluster/start_slurm.sh <folder>   # everything it makes is in there
#     export SLURM_CONF=<folder>/slurm.conf   # what programs need to find it
#     tests/cluster/stop.sh <folder>
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tests/cluster/common.sh
. ./common.sh
folder=$(new_folder "$@")

install_packages slurmctld slurmd slurm-client munge
resolve_own_name

# munged's own user owns the key and the folder of its socket.
mkdir -p "$folder"/{munge,state,spool}
head -c 1024 /dev/urandom >"$folder/munge/munge.key"
chmod 0600 "$folder/munge/munge.key"
chmod 0755 "$folder/munge"
chown -R munge: "$folder/munge"
chmod 0755 "$folder"
trap './stop.sh "$folder"' ERR
start munged setpriv --reuid munge --regid munge --clear-groups munged --foreground \
    --key-file "$folder/munge/munge.key" --socket "$folder/munge/socket" \
    --pid-file "$folder/munge/pid" --seed-file "$folder/munge/seed" \
    --log-file "$folder/munge/log"
wait_for "munged" test -S "$folder/munge/socket"

# Memory is watched by polling (OverMemoryKill): there may be no cgroup to write to.
# MinJobAge: records go quickly, as on a busy cluster.
memory_mb=$(awk '/^MemTotal/ {print int($2 / 1024 / 2)}' /proc/meminfo)
cat >"$folder/cgroup.conf" <<END
CgroupPlugin=cgroup/v1
END
cat >"$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmctldPort=26817
SlurmdPort=26818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.daemon
SlurmdPidFile=$folder/slurmd.daemon
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/completed
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
EnforcePartLimits=ALL
DependencyParameters=kill_invalid_depend
MinJobAge=${SLURM_MIN_JOB_AGE:-300}
KillWait=5
SlurmdTimeout=10
InactiveLimit=0
ReturnToService=2
SchedulerParameters=sched_interval=2,batch_sched_delay=0
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory_mb State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=1:00:00 OverSubscribe=FORCE:8 State=UP
END
export SLURM_CONF=$folder/slurm.conf
start slurmctld slurmctld -D
start slurmd slurmd -D -N "$(hostname -s)"
node_is_up() { [[ $(sinfo -h -o %T 2>/dev/null) == idle ]]; }
wait_for "a Slurm node" node_is_up
echo "export SLURM_CONF=$SLURM_CONF"
