#!/usr/bin/env bash
# Installs the languages of the clients as far as it may. Where it may not, their tests are skipped.
set -euo pipefail

missing=()
for pair in java:openjdk-17-jdk-headless mvn:maven node:nodejs npm:npm; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
((${#missing[@]})) || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${missing[*]} for the clients"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "tests that need ${missing[*]} will be skipped"
fi
