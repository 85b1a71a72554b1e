#!/usr/bin/env bash
# Installs the programs that the tests run against, as far as it may. Where it may not, their tests are skipped.
# Arguments are more of them, as program:package.
set -euo pipefail

missing=()
for pair in redis-server:redis-server redis-sentinel:redis-sentinel strace:strace h2load:nghttp2-client "$@"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
((${#missing[@]})) || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${missing[*]} for the tests"
  apt-get update -qq
  # The tests run servers of their own; none may start by itself.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "tests that need ${missing[*]} will be skipped"
fi
