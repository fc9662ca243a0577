#!/bin/sh
# Install RabbitMQ for the tests, unless it is here. The tests start servers of their own, as whoever runs them.
set -eu

if [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "RabbitMQ is not installed, and only root on Debian can install it here; tests that need it will be skipped." >&2
  exit 0
fi

echo "Installing rabbitmq-server"
# The package starts a server where there is an init system; this file is how Debian is asked not to.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
{ timeout 300 apt-get update && timeout 300 apt-get install -y --no-install-recommends rabbitmq-server; } >/dev/null ||
  echo "rabbitmq-server could not be installed; tests that need it will be skipped." >&2
