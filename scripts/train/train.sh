#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes internal/model/default.gguf from nothing but a seed.
#
#   scripts/train/train.sh           the real thing, under an hour on two cores
#   scripts/train/train.sh --quick   a smoke test of about two minutes; writes
#                                    to .cache/train-quick, not into the tree
#
# SEED (1) and THREADS (1; two gain little) may be set in the environment.
set -eu
cd "$(dirname "$0")/../.."
py=/usr/bin/python3

need=
$py -c 'import torch' 2>/dev/null || need="$need python3-torch"
$py -c 'import numpy' 2>/dev/null || need="$need python3-numpy"
# The reference BLAS is ten times slower than OpenBLAS, and OpenBLAS' own
# threads get in the way of torch's.
blas=/usr/lib/$(uname -m)-linux-gnu/openblas-openmp
[ -d "$blas" ] || need="$need libopenblas0-openmp"
if [ -n "$need" ]; then
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update
	$sudo apt-get install -y --no-install-recommends $need
fi
if [ -d "$blas" ]; then
	LD_LIBRARY_PATH=$blas${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
	export LD_LIBRARY_PATH
fi
OMP_NUM_THREADS=${THREADS:-1}
# Keep memory instead of giving it back to the kernel after every tensor.
MALLOC_MMAP_THRESHOLD_=4294967296
MALLOC_TRIM_THRESHOLD_=8589934592
export OMP_NUM_THREADS MALLOC_MMAP_THRESHOLD_ MALLOC_TRIM_THRESHOLD_

out=.cache/train
gguf=internal/model/default.gguf
if [ "${1:-}" = --quick ]; then
	out=.cache/train-quick
	gguf=$out/quick.gguf
fi
mkdir -p "$out"
nice -n 15 $py scripts/train/train.py --seed "${SEED:-1}" --threads "$OMP_NUM_THREADS" --out "$out" "$@"
nice -n 15 $py scripts/train/export.py --out "$out" --gguf "$gguf"
nice -n 15 $py scripts/train/check.py --out "$out" --gguf "$gguf"
