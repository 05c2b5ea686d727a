#!/usr/bin/env bash
# Installs what a single-node GridEngine needs (Debian, as root or with sudo) and starts one.
#
#     tests/cluster/start_sge.sh <folder>     # everything it makes is in there
#     export SGE_ROOT=... (as printed)        # what programs need to find it
#     tests/cluster/stop.sh <folder>
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tests/cluster/common.sh
. ./common.sh
folder=$(new_folder "$@")

# The execution daemon wants a mail program.
install_packages gridengine-master gridengine-exec gridengine-client bsd-mailx msmtp-mta
resolve_own_name

host=$(hostname)
export SGE_ROOT=$folder/root SGE_CELL=default SGE_QMASTER_PORT=26444 SGE_EXECD_PORT=26445
export SGE_MASTER_PIDFILE=$folder/sge_qmaster.daemon SGE_ND=true
common=$SGE_ROOT/$SGE_CELL/common
mkdir -p "$common" "$folder"/{spooldb,qmaster/job_scripts,execd}
for part in bin lib util utilbin; do
    ln -s "/var/lib/gridengine/$part" "$SGE_ROOT/$part"
done
cat >"$common/bootstrap" <<END
admin_user              sgeadmin
default_domain          none
ignore_fqdn             false
spooling_method         berkeleydb
spooling_lib            libspoolb
spooling_params         $folder/spooldb
binary_path             /usr/sbin
qmaster_spool_dir       $folder/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
END
echo "$host" >"$common/act_qmaster"
echo "$host localhost" >"$common/host_aliases"
chmod 755 "$folder"
chown -R sgeadmin: "$folder"
as_admin=(setpriv --reuid sgeadmin --regid sgeadmin --clear-groups)
"${as_admin[@]}" /usr/share/gridengine/scripts/init_cluster "$SGE_ROOT" "$SGE_CELL" \
    "$folder/spooldb" sgeadmin >"$folder/init.out"

trap './stop.sh "$folder"' ERR
start sge_qmaster sge_qmaster
master_answers() { qconf -sh >/dev/null 2>&1; }
wait_for "sge_qmaster" master_answers

as_manager() { qconf "$@" >>"$folder/configure.out" 2>&1; }

as_manager -as "$host"
# Root may submit (tests run as root in containers); scripts start with their own interpreter.
qconf -sconf global | sed -e 's/^min_uid .*/min_uid 0/' -e 's/^min_gid .*/min_gid 0/' \
    -e 's/^shell_start_mode .*/shell_start_mode unix_behavior/' \
    -e "s|^execd_spool_dir .*|execd_spool_dir $folder/execd|" \
    -e 's/^reporting_params .*/reporting_params accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00 accounting_flush_time=00:00:00/' \
    >"$folder/global"
as_manager -Mconf "$folder/global"
qconf -ssconf | sed -e 's/^schedule_interval .*/schedule_interval 0:0:1/' \
    -e 's/^flush_submit_sec .*/flush_submit_sec 1/' \
    -e 's/^flush_finish_sec .*/flush_finish_sec 1/' >"$folder/scheduler"
as_manager -Msconf "$folder/scheduler"

cat >"$folder/smp" <<END
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule \$pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
END
as_manager -Ap "$folder/smp"
start sge_execd sge_execd
cat >"$folder/queue" <<END
$(qconf -sq 2>/dev/null | grep -vE '^(qname|hostlist|slots|shell_start_mode|load_thresholds|pe_list) ')
qname test.q
hostlist $host
slots 4
pe_list smp
shell_start_mode unix_behavior
load_thresholds NONE
END
as_manager -Aq "$folder/queue"
node_is_up() { qstat -f | awk '/^test.q/ {up = $4 != "-NA-" && $6 == ""} END {exit !up}'; }
wait_for "a GridEngine node" node_is_up
for name in SGE_ROOT SGE_CELL SGE_QMASTER_PORT SGE_EXECD_PORT; do
    echo "export $name=${!name}"
done
