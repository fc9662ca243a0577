#!/usr/bin/env bash
# Removes the task environments of this worker that no task uses at the moment. Those that are needed again are built
# again, so it can run at any time.
set -euo pipefail
shopt -s nullglob

home=~
cache=${DKIST_ENVIRONMENT_CACHE:-${XDG_CACHE_HOME:-$home/.cache}/dkist-processing-core/environments}
for lock in "$cache"/*.use; do
  # A task holds this lock, shared, for as long as it lives. The lock's own file must stay where it is.
  flock --exclusive --nonblock "$lock" rm -rf "${lock%.use}" || echo "in use: ${lock%.use}"
done
