#!/usr/bin/env bash
# A Ray cluster inside a Slurm allocation, and one build on it. OUT, the annotations and the virtual environment
# must lie on a file system that all nodes see:
#   sbatch docker/slurm.sh annotations.csv --output /shared/kinetics --cache /scratch/kinetics
# Five minutes before the time limit the build is told to stop, and the job ends with 3: work remains. Submit it again
# to resume.
#SBATCH --job-name=kinetics
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail

port=6379
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" \
    ray start --head --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
until srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" ray status --address="$head:$port" >/dev/null 2>&1; do
    sleep 2
done
for node in "${nodes[@]:1}"; do
    srun --nodes=1 --ntasks=1 --overlap --nodelist="$node" \
        ray start --address="$head:$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
done

export RAY_ADDRESS="$head:$port"
srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" kinetics-pipeline build "$@" &
build=$!
stopped=
trap 'stopped=1; kill -TERM "$build"' TERM
code=0
wait "$build" || code=$?
if [ -n "$stopped" ]; then # the signal has ended `wait`, not the build
    code=0
    wait "$build" || code=$?
    if [ "$code" -ne 0 ]; then
        echo "stopped before the time limit; to resume: sbatch $0 $*" >&2
        code=3
    fi
fi
exit "$code"
