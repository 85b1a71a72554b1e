#!/usr/bin/env bash
# Runs the main job through Compose for real, on a Debian machine where no image can be pulled: the base images are made
# with debootstrap, and a Docker engine is started if none runs. Needs root. Leaves the base images for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "test-compose needs root" >&2; exit 1; }

missing=()
for each in dockerd:docker.io docker-compose:docker-compose debootstrap:debootstrap; do
  command -v "${each%%:*}" >/dev/null || missing+=("${each##*:}")
done
if ((${#missing[@]})); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

work=$(mktemp -d)
engine=
finish() {
  status=$?
  docker-compose -p virtlease-test logs --no-color --tail 40 >"$work/compose.log" 2>&1 || true
  ((status == 0)) || cat "$work/compose.log" >&2
  docker-compose -p virtlease-test down -v --timeout 20 >/dev/null 2>&1 || true
  [ -z "$engine" ] || { kill "$engine" && wait "$engine" || true; } 2>/dev/null
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

if ! docker info >/dev/null 2>&1; then
  dockerd >"$work/dockerd.log" 2>&1 &
  engine=$!
  for _ in $(seq 60); do docker info >/dev/null 2>&1 && break; sleep 0.5; done
  docker info >/dev/null || { cat "$work/dockerd.log" >&2; exit 1; }
fi

base() { # base IMAGE PACKAGES
  docker image inspect "$1" >/dev/null 2>&1 && return
  echo "making $1"
  debootstrap --variant=minbase --include="$2" bookworm "$work/root" >"$work/debootstrap.log"
  # What the machine trusts, the image trusts: a registry may be reached through a proxy with a certificate of its own.
  cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$work/root/var/cache/apt/archives"/*.deb
  local bundle=/etc/ssl/certs/ca-certificates.crt
  tar -C "$work/root" -c . | docker import --change "ENV SSL_CERT_FILE=$bundle PIP_CERT=$bundle" - "$1" >/dev/null
  rm -rf "$work/root"
}
base virtlease-base ca-certificates,python3,python3-venv
base virtlease-redis-base ca-certificates,redis-server

export BASE_IMAGE=virtlease-base REDIS_IMAGE=virtlease-redis-base VIRTLEASE_BUILD_NETWORK=host
docker-compose -p virtlease-test build --quiet
docker-compose -p virtlease-test up -d
for _ in $(seq 120); do
  [ "$(docker inspect -f '{{.State.Health.Status}}' virtlease-test_gateway_1 2>/dev/null)" = healthy ] && break
  sleep 0.5
done
docker-compose -p virtlease-test ps
VIRTLEASE_TEST_TOKEN=$(docker-compose -p virtlease-test exec -T session cat /run/virtlease/user.token) \
  .venv/bin/pytest -q tests/compose
