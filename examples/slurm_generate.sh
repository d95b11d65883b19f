#!/usr/bin/env bash
# A million samples of model 8 on ten nodes: `sbatch examples/slurm_generate.sh`, and the same again to continue a job that was
# stopped. docs/scale.md tells what it costs. The Python environment with medzoo[cluster] is active, and lies, like medzoo's
# cache and OUT, where every node sees it.
#SBATCH --job-name=medzoo
#SBATCH --nodes=10
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
# With GPUs: `#SBATCH --gpus-per-node=2`, and ACTORS=20, since an actor then takes one each.
set -euo pipefail

MODEL=${MODEL:-8} N=${N:-1_000_000} SEED=${SEED:-1} OUT=${OUT:-$PWD/million} FORMAT=${FORMAT:-webdataset}
ACTORS=${ACTORS:-$((SLURM_JOB_NUM_NODES * SLURM_CPUS_PER_TASK - 4))} # four cores write, and move what comes
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=$(hostname --ip-address | cut -d" " -f1):$((20000 + SLURM_JOB_ID % 20000)) # this script runs on the first node
export RAY_USAGE_STATS_ENABLED=0
# Whoever reaches a Ray that asks for no token can run code as you.
RAY_AUTH_TOKEN=$(python -c "import secrets; print(secrets.token_hex(16))")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

ray_on() { # NODE ARGUMENTS...: Ray on a node, with the cores and GPUs that this job has there, until this script ends
  srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --nodelist="$1" \
    ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" "${@:2}" &
}
nodes_up() { ray status --address="$head" 2> /dev/null | grep -c " node_"; }
trap 'kill $(jobs -p) 2> /dev/null' EXIT

ray_on "${nodes[0]}" --head --node-ip-address="${head%:*}" --port="${head#*:}" --include-dashboard=false
for _ in {1..60}; do [ "$(nodes_up)" -gt 0 ] && break || sleep 2; done
for node in "${nodes[@]:1}"; do ray_on "$node" --address="$head"; done
for _ in {1..60}; do [ "$(nodes_up)" -ge "${#nodes[@]}" ] && break || sleep 2; done # a node that is late joins all the same

medzoo generate "$MODEL" -n "$N" --seed "$SEED" --out "$OUT" --format "$FORMAT" \
  --engine ray --address "$head" --actors "$ACTORS"
