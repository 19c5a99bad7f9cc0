#!/bin/bash
# sbatch recipes/accelerate/slurm.sh RECIPE [key.path=value ...]     from the folder of the project
#SBATCH --job-name=twiza-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# Nodes without a network: put what the recipe names into this folder before, by `hf download`.
export HF_HOME="${HF_HOME:-$PWD/work/hub}" HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}"
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export first
gpus=$((SLURM_NNODES * SLURM_GPUS_ON_NODE))
export gpus

# Before its time is up, the job goes back into the queue, and training on from its last checkpoint.
trap 'scontrol requeue "$SLURM_JOB_ID"' TERM

srun --kill-on-bad-exit=1 bash -c '
    exec .venv/bin/accelerate launch \
        --config_file recipes/accelerate/two_nodes.yaml \
        --num_machines "$SLURM_NNODES" --num_processes "$gpus" --machine_rank "$SLURM_NODEID" \
        --main_process_ip "$first" -m train "$@"' train "$@" &
wait $!
