#!/bin/sh
# Install Chromium for the tests, unless it is here. The tests start browsers of their own, without a display.
set -eu

if command -v chromium >/dev/null; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Chromium is not installed, and only root on Debian can install it here; tests that need it will be skipped." >&2
  exit 0
fi

echo "Installing chromium"
export DEBIAN_FRONTEND=noninteractive
{ timeout 300 apt-get update && timeout 600 apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } >/dev/null ||
  echo "chromium could not be installed; tests that need it will be skipped." >&2
