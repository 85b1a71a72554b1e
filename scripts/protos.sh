#!/usr/bin/env bash
# Generates the Python stubs and the descriptor set from protos/ into clients/python/virtlease.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-clients/python}
python=.venv/bin/python
mkdir -p "$out/virtlease"
rm -rf "$out"/virtlease/{session,pool,tool}
mapfile -t all < <(cd protos && find virtlease -name '*.proto' | sort)
mapfile -t services < <(cd protos && find virtlease -name '*_service.proto' | sort)
PATH=$PWD/.venv/bin:$PATH
# Source info is kept because the gateway reads tool descriptions from the comments.
$python -m grpc_tools.protoc -Iprotos --python_out="$out" --mypy_out="$out" \
  --include_imports --include_source_info --descriptor_set_out="$out/virtlease/descriptors.binpb" "${all[@]}" 2> >(grep -v '^Writing mypy' >&2)
$python -m grpc_tools.protoc -Iprotos --grpc_python_out="$out" --mypy_grpc_out="$out" "${services[@]}" 2> >(grep -v '^Writing mypy' >&2)
