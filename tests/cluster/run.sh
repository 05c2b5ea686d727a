#!/usr/bin/env bash
# The tests that need real schedulers; options are pytest's, such as -k "not recipe".
#
# The programs are installed first. Slurm's daemons are bound to the loopback address. GridEngine's
# listen on all: its tests have a network of their own with nothing but loopback, where allowed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/cluster/common.sh
install_packages slurmctld slurmd slurm-client munge gridengine-master gridengine-exec \
    gridengine-client bsd-mailx msmtp-mta

((EUID == 0)) || exec sudo --preserve-env=PATH,PYTHONPATH,PYTHONUNBUFFERED "$0" "$@"
python -m pytest -q tests/cluster/test_slurm.py "$@"
own_network=()
if unshare --net ip link set lo up 2>/dev/null; then
    own_network=(unshare --net bash -c 'ip link set lo up; exec "$@"' -)
fi
"${own_network[@]}" python -m pytest -q tests/cluster/test_sge.py "$@"
