#!/bin/sh
# Starts a program with its secrets. Each secret is a file whose name is that of a variable, such as ISB_PASSWORD, in the
# credentials of systemd, the secrets of Nomad, or the folder /run/secrets of a container.
set -eu
for file in "${CREDENTIALS_DIRECTORY:-${NOMAD_SECRETS_DIR:-/run/secrets}}"/[A-Z]*; do
    if [ -f "$file" ]; then
        value=$(cat "$file")
        export "${file##*/}=$value"
    fi
done
exec "$@"
