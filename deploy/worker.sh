#!/bin/sh
# Runs Airflow's Celery worker, and stops it in two steps. systemd, Docker and Nomad send one SIGTERM, and SIGKILL after
# a time-out. Here SIGTERM lets the running tasks end by themselves first, for DKIST_DRAIN_SECONDS. Remaining tasks then
# get SIGTERM as well, so that they end in an orderly way within DKIST_GRACE_SECONDS, and the worker reports them before
# it ends.
set -u
"$@" &
worker=$!

# Sends SIGTERM to a process and all its descendants, in any session or process group.
end() {
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
        end "$child"
    done
    kill -TERM "$1" 2>/dev/null
}

drain() {
    is_stopping=yes
    trap 'is_stopping=yes' TERM
    # Only to Celery's main process: it accepts no more tasks, and ends when the running ones have ended.
    kill -TERM "$worker"
    timeout "${DKIST_DRAIN_SECONDS:-1800}" tail --pid="$worker" -f /dev/null || end "$worker"
}

trap drain TERM
is_stopping=yes
while [ "$is_stopping" ]; do
    is_stopping=
    wait "$worker"  # returns early after a signal
    status=$?
done
exit "$status"
