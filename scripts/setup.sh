#!/usr/bin/env bash
# Makes .venv from the lock. Installs what is missing of Debian's packages first, where it may.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need COMMAND-THAT-SHOWS-IT PACKAGE...
  local probe=$1
  shift
  bash -c "$probe" >/dev/null 2>&1 || missing+=("$@")
}
need 'python3 -c "import ensurepip, venv"' python3 python3-venv
need 'command -v gcc' gcc libc6-dev
need 'test -f "$(python3 -c "import sysconfig; print(sysconfig.get_path(\"include\"))")/Python.h"' python3-dev
need 'command -v pkg-config' pkg-config
need 'pkg-config --exists libvirt' libvirt-dev

if ((${#missing[@]})); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "missing: ${missing[*]}. Install them with your system's package manager, then try again." >&2
    exit 1
  fi
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
[ -x .venv/bin/python ] || python3 -m venv .venv
uv=$(sed -n 's/^    "uv==\(.*\)",$/\1/p' pyproject.toml)
[ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" = "$uv" ] || .venv/bin/python -m pip install -q --disable-pip-version-check "uv==$uv"
.venv/bin/uv sync --frozen --quiet --all-groups
