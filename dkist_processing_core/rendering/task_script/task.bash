# Runs one task in a virtual environment that holds exactly one release of the package that the task is in.
# Environments are kept in a cache and built once. What differs from task to task comes in through variables; those of
# this script itself begin with dkist_, so that none of the worker's own is changed for the task.
#
# Exit status: that of the task, or 65 recipe run id is no integer, 69 environment could not be built,
# 78 a setting is missing or cannot be used.
set -uo pipefail
unset DKIST_SCRIPT DKIST_DEV_INSTALL

say() { printf '%(%Y-%m-%d %H:%M:%S)T dkist: %s\n' -1 "$*"; }
fail() { local dkist_status=$1; shift; say "ERROR: $*" >&2; exit "$dkist_status"; }
redact() { sed -u -E 's#://[^/[:space:]]+@#://<redacted>@#g'; }
check_seconds() {
  if [[ -z $2 || $2 == *[!0123456789]* ]]; then fail 78 "$1 is '$2'; it must be a number of seconds."; fi
}

for dkist_name in DKIST_TASK DKIST_REQUIREMENT DKIST_WORKFLOW_NAME DKIST_WORKFLOW_VERSION; do
  [[ -n ${!dkist_name:-} ]] || fail 78 "$dkist_name is not set; the exported DAG sets it, so does Node.bash_script."
done
dkist_run=${DKIST_RECIPE_RUN_ID:-}
if [[ -z $dkist_run || $dkist_run == *[!0123456789]* ]]; then
  printf -v dkist_shown '%q' "$dkist_run"
  fail 65 "recipe_run_id must be an integer, not $dkist_shown." \
    "Trigger the run with conf {\"recipe_run_id\": <integer>}," \
    "or set DKIST_RECIPE_RUN_ID=<integer> when running this by hand."
fi
dkist_grace=${DKIST_GRACE_SECONDS:-10}
dkist_patience=${DKIST_BUILD_WAIT_SECONDS:-3600}
check_seconds DKIST_GRACE_SECONDS "$dkist_grace"
check_seconds DKIST_BUILD_WAIT_SECONDS "$dkist_patience"

# ---- the worker ------------------------------------------------------------------------------------------------------
say "task $DKIST_TASK of $DKIST_WORKFLOW_NAME $DKIST_WORKFLOW_VERSION, recipe run $dkist_run"
say "worker ${HOSTNAME:-unknown}, folder $PWD, bash $BASH_VERSION"
for dkist_name in "${!NOMAD_@}"; do
  case $dkist_name in
    NOMAD_ALLOC_*|NOMAD_GROUP_*|NOMAD_HOST_*|NOMAD_CPU_*|NOMAD_MEMORY_*) say "$dkist_name=${!dkist_name}" ;;
  esac
done
say "limits: address space $(ulimit -v), open files $(ulimit -n), processes $(ulimit -u), core files $(ulimit -c)"

# Nothing of Airflow's own environment belongs into a task: neither its settings and secrets nor its Python.
unset "${!AIRFLOW__@}" "${!AIRFLOW_CONN_@}" "${!AIRFLOW_VAR_@}" "${!_AIRFLOW_@}" "${!PYTHONUSER@}"
unset AIRFLOW_HOME AIRFLOW_CONFIG PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX
unset VIRTUAL_ENV VIRTUAL_ENV_PROMPT __PYVENV_LAUNCHER__

# ---- the environment: where it is ------------------------------------------------------------------------------------
dkist_python=$(command -v "${DKIST_PYTHON:-python3}") ||
  fail 78 "no ${DKIST_PYTHON:-python3} on PATH=$PATH. Install Python, or set DKIST_PYTHON to one."

mapfile -d '' -t dkist_facts < <("$dkist_python" -I - <<'PYTHON'
@DESCRIBE_ENVIRONMENT@
PYTHON
)
dkist_key=${dkist_facts[0]:-}
[[ -n $dkist_key ]] ||
  fail 78 "$dkist_python could not describe the environment for $DKIST_REQUIREMENT; see its message above."

dkist_home=~
dkist_cache=${DKIST_ENVIRONMENT_CACHE:-${XDG_CACHE_HOME:-$dkist_home/.cache}/dkist-processing-core/environments}
mkdir -p -- "$dkist_cache" && [[ -w $dkist_cache ]] ||
  fail 78 "the environment cache $dkist_cache cannot be written. Set DKIST_ENVIRONMENT_CACHE to a folder that can."
dkist_cache=$(unset CDPATH; cd -- "$dkist_cache" && pwd -P)
dkist_environment=$dkist_cache/$dkist_key

# ---- the environment: building it ------------------------------------------------------------------------------------
is_ready() { [[ -e $dkist_environment/.ready && -x $dkist_environment/bin/python ]]; }

install() {
  local dkist_what=("$DKIST_REQUIREMENT") dkist_setting
  for dkist_setting in "${dkist_facts[@]:1}"; do export "${dkist_setting?}"; done
  if [[ -n ${DKIST_DEV_INSTALL:-} ]]; then dkist_what=(--editable "$DKIST_DEV_INSTALL"); fi
  if command -v uv >/dev/null; then
    uv venv --quiet --no-project --python "$dkist_python" "$dkist_environment" && constrain &&
      uv pip install --no-progress --python "$dkist_environment/bin/python" "${dkist_what[@]}"
  else
    say "there is no uv on PATH; python -m venv and pip do the work, more slowly"
    unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV
    "$dkist_python" -m venv "$dkist_environment" && constrain &&
      "$dkist_environment/bin/python" -m pip install --no-input --no-compile --disable-pip-version-check \
        "${dkist_what[@]}"
  fi
}

# Constraints that the workflow states come on top of those that the worker's own settings name. These settings are
# lists that are split at spaces, so the file is named from where it lies, whatever the path to there.
constrain() {
  [[ -n ${DKIST_CONSTRAINTS:-} ]] || return 0
  cd -- "$dkist_environment" && printf '%s\n' "$DKIST_CONSTRAINTS" >.constraints.txt &&
    export UV_CONSTRAINT="${UV_CONSTRAINT:-} .constraints.txt" PIP_CONSTRAINT="${PIP_CONSTRAINT:-} .constraints.txt"
}

verify() {
  "$dkist_environment/bin/python" -I - <<'PYTHON'
@VERIFY_ENVIRONMENT@
PYTHON
}

build() {
  local dkist_began=$SECONDS
  rm -rf -- "$dkist_environment" || fail 69 "the unfinished environment $dkist_environment cannot be removed."
  say "building the environment $dkist_environment for $DKIST_REQUIREMENT with $dkist_python"
  # The parts of a pipeline are subshells, so the settings for the installer end here and never reach the task.
  if ! { install && verify; } 2>&1 </dev/null | redact; then
    rm -rf -- "$dkist_environment"
    fail 69 "the environment for $DKIST_REQUIREMENT could not be built; the installer's messages are above." \
      "Check that this release is on the package index that this worker uses, that the index can be reached," \
      "and that there is room on the disk."
  fi
  printf '%s\n' "$DKIST_REQUIREMENT" >"$dkist_environment/.building" &&
    mv -- "$dkist_environment/.building" "$dkist_environment/.ready" ||
    fail 69 "the environment $dkist_environment was built but cannot be marked as ready. Is the disk full?"
  say "environment built in $((SECONDS - dkist_began)) s"
  # There is more on the disk now, so it is time to look for what nobody uses any more.
  "$dkist_environment/bin/python" -P -m dkist_processing_core.worker.cache "$dkist_cache" </dev/null
}

# The lock for use is held, shared, by whoever builds or runs, and by nobody who merely waits for a builder to finish.
# Its descriptor passes on to the task, so it is held for as long as the task lives. Whoever removes an environment
# removes its locks as well, so what was opened may be no longer what lies there; it is then opened again.
lock() {
  local dkist_fds=/proc/$$/fd
  while :; do
    exec {dkist_use_lock}>>"$dkist_environment.use" {dkist_build_lock}>>"$dkist_environment.build" || return
    flock --shared --timeout "$dkist_patience" "$dkist_use_lock" || return
    if [[ ! -d $dkist_fds ]]; then return 0; fi
    if [[ $dkist_environment.use -ef $dkist_fds/$dkist_use_lock &&
      $dkist_environment.build -ef $dkist_fds/$dkist_build_lock ]]; then return 0; fi
    exec {dkist_use_lock}>&- {dkist_build_lock}>&-
  done
}
command -v flock >/dev/null || fail 78 "there is no flock on PATH=$PATH. Install it (util-linux)."
lock ||
  fail 78 "the environment cache $dkist_cache cannot be locked (flock). Set DKIST_ENVIRONMENT_CACHE to a local folder."
touch -- "$dkist_environment.use" # when it was used last

if is_ready; then
  say "environment reused: $dkist_environment"
else
  flock --exclusive --nonblock "$dkist_build_lock" || {
    say "another task is building this environment; waiting for it"
    flock --exclusive --timeout "$dkist_patience" "$dkist_build_lock" ||
      fail 69 "gave up waiting for another task that builds $dkist_environment."
  }
  if is_ready; then say "environment reused: $dkist_environment, built meanwhile"; else build; fi
fi
exec {dkist_build_lock}>&-

# ---- the task --------------------------------------------------------------------------------------------------------
dkist_task=
dkist_helpers=()
dkist_told_to_end=

end_task() {
  local dkist_waited
  kill -TERM -- "-$dkist_task"
  for ((dkist_waited = 0; dkist_waited < 10#$dkist_grace; dkist_waited++)); do
    kill -0 -- "-$dkist_task" || return
    sleep 1
  done
  kill -KILL -- "-$dkist_task"
}

# When the process that started this script dies, Airflow forgets the task; it must not live on as an orphan.
watch_parent() {
  local dkist_parent=$PPID dkist_now
  while sleep 1; do
    read -r _ _ _ dkist_now _ <"/proc/$$/stat" || dkist_now=gone
    if [[ $dkist_now != "$dkist_parent" ]]; then end_task; return; fi
  done
}

# Job control is on where something is started, which gives it a process group of its own: so all of it, and nothing
# else, can be ended. A function does it, since between the commands of a script that has job control on bash tells of
# jobs that have ended, on standard error.
start_task() {
  set -m
  "$dkist_environment/bin/python" -P -m dkist_processing_core.runtime "$DKIST_TASK" \
    --workflow-name "$DKIST_WORKFLOW_NAME" --workflow-version "$DKIST_WORKFLOW_VERSION" </dev/null &
  dkist_task=$!
  set +m
}

start_helper() {
  set -m
  "$1" </dev/null >/dev/null 2>&1 {dkist_use_lock}>&- &
  dkist_helpers+=("$!")
  disown "$!"
  set +m
}

on_signal() {
  dkist_interrupted=1
  if [[ -n $dkist_told_to_end ]]; then return; fi
  dkist_told_to_end=1
  say "told to end; the task has $dkist_grace s to do so"
  if [[ -n $dkist_task ]]; then start_helper end_task; fi
}

# From here on a signal is never lost: before the task has started it is remembered, afterwards it is passed on.
dkist_interrupted=
trap on_signal TERM INT HUP

export DKIST_RECIPE_RUN_ID=$dkist_run PYTHONUNBUFFERED=1 PYTHONNOUSERSITE=1
export VIRTUAL_ENV=$dkist_environment PATH=$dkist_environment/bin:$PATH
dkist_started=$SECONDS
start_task
if [[ -n $dkist_told_to_end ]]; then start_helper end_task; fi
if [[ -n ${AIRFLOW_CTX_DAG_ID:-} && -r /proc/$$/stat ]]; then start_helper watch_parent; fi

# A signal interrupts the wait, which then has to be taken up again. The task may have ended long before, so it is the
# wait that tells, never whether there is still a process of that number; 127 means that its status was told already.
dkist_status=
while :; do
  dkist_interrupted=
  wait "$dkist_task" 2>/dev/null
  dkist_told=$?
  if [[ -z $dkist_status || $dkist_told -ne 127 ]]; then dkist_status=$dkist_told; fi
  if [[ -z $dkist_interrupted ]]; then break; fi
done
for dkist_helper in "${dkist_helpers[@]}"; do kill -KILL -- "-$dkist_helper" 2>/dev/null; done
if kill -KILL -- "-$dkist_task" 2>/dev/null; then say "processes that the task had left behind were killed"; fi

if ((dkist_status == 137)); then
  say "the task was killed (SIGKILL); if nobody did, the worker ran out of memory" >&2
fi
say "task $DKIST_TASK ended with exit status $dkist_status after $((SECONDS - dkist_started)) s"
exit "$dkist_status"
