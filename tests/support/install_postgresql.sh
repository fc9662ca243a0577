#!/bin/sh
# Install PostgreSQL for the tests, unless it is here. The tests start servers of their own.
set -eu

if ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "PostgreSQL is not installed, and only root on Debian can install it here; tests that need it will be skipped." >&2
  exit 0
fi

echo "Installing postgresql"
# Debian's package makes and starts a cluster of its own, unless it is told not to.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
export DEBIAN_FRONTEND=noninteractive
{ timeout 300 apt-get update && timeout 600 apt-get install -y --no-install-recommends postgresql; } >/dev/null ||
  echo "postgresql could not be installed; tests that need it will be skipped." >&2
