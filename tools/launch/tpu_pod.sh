#!/usr/bin/env bash
# Trains on all hosts of a TPU slice, and again on the same slice after a preemption or a host's failure.
#
#   tools/launch/tpu_pod.sh NAME ZONE radmae pretrain --config configs/poster_pretrain.py \
#     --config.bins.group=256 --config.data.manifest=/mnt/archive/archive.parquet --workdir gs://BUCKET/runs/first
#
# NAME is a TPU VM (`gcloud compute tpus tpu-vm create`), with this package and its extra `tpu` installed on every host
# and the archive mounted at the same place; --workdir is storage that all hosts see. `--hosts auto` is added. Exit code
# 75 (a host was asked to stop; all saved) and a lost host (the others end within a minute) start it again; any other
# code is the run's own and ends it.
set -u
name=$1 zone=$2
shift 2
command="JAX_COMPILATION_CACHE_DIR=\$HOME/.cache/jax $(printf '%q ' "$@") --hosts auto"

# Runs the command on every host; the code of the first that did not end well, as ssh gives it back.
on_all() {
  gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker all --command "$1"
}

while true; do
  on_all "$command"
  code=$?
  case $code in
    0) exit 0 ;;
    2 | 3 | 4 | 5 | 6) exit "$code" ;; # bad input, or the run stopped itself: again would end the same way
  esac
  echo "$(date -Is) ended with $code; going on from the newest checkpoint when $name is ready" >&2
  on_all "pkill -TERM -x radmae" || true # a host that was left behind would hold the chips
  until [ "$(gcloud compute tpus tpu-vm describe "$name" --zone "$zone" --format 'value(state)')" = READY ]; do
    sleep 60
  done
done
