#!/usr/bin/env bash
# Trains on all hosts of a TPU slice, and again on the same slice after a preemption or a host's failure.
#
#   tools/launch/tpu_pod.sh NAME ZONE radmae pretrain --config configs/poster_pretrain.py \
#     --config.bins.group=256 --config.data.manifest=/mnt/archive/archive.parquet --workdir runs/first \
#     --config.train.checkpoints=gs://BUCKET/runs/first
#
# NAME is a TPU VM (`gcloud compute tpus tpu-vm create`), with this package and its extra `tpu` installed on every host
# and the archive mounted at the same place; checkpoints go to storage that all hosts see. `--hosts auto` is added. Exit
# code 75 (a host was asked to stop; all saved) and a lost host (the others end within a minute) start it again; codes
# that are the run's own (2 to 7) end it, and so do five tries in a row that took less than ten minutes each.
set -u
short=0
name=$1 zone=$2
shift 2
# Where `radmae compile` puts what it compiled for the slice: with a copy on every host the first start can be warm too.
command="JAX_COMPILATION_CACHE_DIR=\$HOME/.cache/radmae_jax/compiled/executables $(printf '%q ' "$@") --hosts auto"

# Runs the command on every host; the code of the first that did not end well, as ssh gives it back.
on_all() {
  gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker all --command "$1"
}

while true; do
  began=$SECONDS
  on_all "$command"
  code=$?
  case $code in
    0) exit 0 ;;
    2 | 3 | 4 | 5 | 6 | 7) exit "$code" ;; # bad input, or the run stopped itself: again would end the same way
  esac
  if [ $((SECONDS - began)) -lt 600 ]; then short=$((short + 1)); else short=0; fi
  if [ "$short" -ge 5 ]; then exit "$code"; fi
  echo "$(date -Is) ended with $code; going on from the newest checkpoint when $name is ready" >&2
  on_all "pkill -TERM -x radmae" || true # a host that was left behind would hold the chips
  sleep 30
  until [ "$(gcloud compute tpus tpu-vm describe "$name" --zone "$zone" --format 'value(state)')" = READY ]; do
    sleep 60
  done
done
