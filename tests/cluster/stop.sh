#!/usr/bin/env bash
# Ends the daemons that start_slurm.sh or start_sge.sh started: tests/cluster/stop.sh <folder>
set -euo pipefail
for name in slurmd slurmctld munged sge_execd sge_qmaster; do
    [[ -e $1/$name.pid ]] || continue
    pid=$(cat "$1/$name.pid")
    kill "$pid" 2>/dev/null || continue
    for _ in {1..100}; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
done
