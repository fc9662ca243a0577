# Runs one task in a virtual environment that holds exactly one release of the package that the task is in.
# Environments are kept in a cache and built once. What differs from task to task comes in through variables.
#
# Exit status: that of the task, or 65 recipe run id is no integer, 69 environment could not be built,
# 78 a setting is missing or cannot be used.
set -uo pipefail
unset DKIST_SCRIPT DKIST_DEV_INSTALL

say() { printf '%(%Y-%m-%d %H:%M:%S)T dkist: %s\n' -1 "$*"; }
fail() { local status=$1; shift; say "ERROR: $*" >&2; exit "$status"; }
redact() { sed -u -E 's#://[^/@[:space:]]+@#://<redacted>@#g'; }

for name in DKIST_TASK DKIST_REQUIREMENT DKIST_WORKFLOW_NAME DKIST_WORKFLOW_VERSION; do
  [[ -n ${!name:-} ]] || fail 78 "$name is not set; the exported DAG sets it, so does Node.bash_script."
done
recipe_run_id=${DKIST_RECIPE_RUN_ID:-}
if [[ -z $recipe_run_id || $recipe_run_id == *[!0123456789]* ]]; then
  printf -v shown '%q' "$recipe_run_id"
  fail 65 "recipe_run_id must be an integer, not $shown. Trigger the run with conf {\"recipe_run_id\": <integer>}," \
    "or set DKIST_RECIPE_RUN_ID=<integer> when running this by hand."
fi

# ---- the worker ------------------------------------------------------------------------------------------------------
say "task $DKIST_TASK of $DKIST_WORKFLOW_NAME $DKIST_WORKFLOW_VERSION, recipe run $recipe_run_id"
say "worker ${HOSTNAME:-unknown}, folder $PWD, bash $BASH_VERSION"
for name in "${!NOMAD_@}"; do
  case $name in NOMAD_ALLOC_*|NOMAD_GROUP_*|NOMAD_HOST_*|NOMAD_CPU_*|NOMAD_MEMORY_*) say "$name=${!name}" ;; esac
done
say "limits: address space $(ulimit -v), open files $(ulimit -n), processes $(ulimit -u), core files $(ulimit -c)"

# Nothing of Airflow's own environment belongs into a task: neither its settings and secrets nor its Python.
unset "${!AIRFLOW__@}" "${!AIRFLOW_CONN_@}" "${!AIRFLOW_VAR_@}" "${!_AIRFLOW_@}" "${!PYTHONUSER@}"
unset AIRFLOW_HOME AIRFLOW_CONFIG PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV VIRTUAL_ENV_PROMPT __PYVENV_LAUNCHER__

# ---- the environment: where it is ------------------------------------------------------------------------------------
python=$(command -v "${DKIST_PYTHON:-python3}") ||
  fail 78 "no ${DKIST_PYTHON:-python3} on PATH=$PATH. Install Python, or set DKIST_PYTHON to one."

mapfile -d '' -t facts < <("$python" -I - <<'PYTHON'
@DESCRIBE_ENVIRONMENT@
PYTHON
)
key=${facts[0]:-}
[[ -n $key ]] || fail 78 "$python could not describe the environment for $DKIST_REQUIREMENT; see its message above."

home=~
cache=${DKIST_ENVIRONMENT_CACHE:-${XDG_CACHE_HOME:-$home/.cache}/dkist-processing-core/environments}
mkdir -p "$cache" && [[ -w $cache ]] ||
  fail 78 "the environment cache $cache cannot be written. Set DKIST_ENVIRONMENT_CACHE to a folder that can."
cache=$(cd "$cache" && pwd -P)
environment=$cache/$key

# ---- the environment: building it ------------------------------------------------------------------------------------
is_ready() { [[ -e $environment/.ready && -x $environment/bin/python ]]; }

install() {
  local what=("$DKIST_REQUIREMENT") setting
  for setting in "${facts[@]:1}"; do export "${setting?}"; done
  if [[ -n ${DKIST_DEV_INSTALL:-} ]]; then what=(--editable "$DKIST_DEV_INSTALL"); fi
  if command -v uv >/dev/null; then
    uv venv --quiet --no-project --python "$python" "$environment" && constrain &&
      uv pip install --no-progress --compile-bytecode --python "$environment/bin/python" "${what[@]}"
  else
    say "there is no uv on PATH; python -m venv and pip do the work, more slowly"
    "$python" -m venv "$environment" && constrain &&
      "$environment/bin/python" -m pip install --no-input --disable-pip-version-check "${what[@]}"
  fi
}

# Constraints that the workflow states come on top of those that the worker's own settings name.
constrain() {
  local file=$environment/.constraints.txt
  [[ -n ${DKIST_CONSTRAINTS:-} ]] || return 0
  printf '%s\n' "$DKIST_CONSTRAINTS" >"$file" &&
    export UV_CONSTRAINT="${UV_CONSTRAINT:-} $file" PIP_CONSTRAINT="${PIP_CONSTRAINT:-} $file"
}

verify() {
  "$environment/bin/python" -I - <<'PYTHON'
@VERIFY_ENVIRONMENT@
PYTHON
}

build() {
  local started=$SECONDS
  rm -rf "$environment" || fail 69 "the unfinished environment $environment cannot be removed."
  say "building the environment $environment for $DKIST_REQUIREMENT with $python"
  # The parts of a pipeline are subshells, so the settings for the installer end here and never reach the task.
  if ! { install && verify; } 2>&1 </dev/null | redact; then
    rm -rf "$environment"
    fail 69 "the environment for $DKIST_REQUIREMENT could not be built; the installer's messages are above." \
      "Check that this release is on the package index that this worker uses, and that the index can be reached."
  fi
  printf '%s\n' "$DKIST_REQUIREMENT" >"$environment/.building" && mv "$environment/.building" "$environment/.ready" ||
    fail 69 "the environment $environment was built but cannot be marked as ready. Is the disk full?"
  say "environment built in $((SECONDS - started)) s"
  # There is more on the disk now, so it is time to look for what nobody uses any more.
  "$environment/bin/python" -P -m dkist_processing_core.environments "$cache" </dev/null
}

# The lock for use is held, shared, by whoever builds or runs, and by nobody who merely waits for a builder to finish.
# Its descriptor passes on to the task, so it is held for as long as the task lives. Whoever removes an environment
# removes its locks as well, so what was opened may be no longer what lies there; it is then opened again.
lock() {
  local fds=/proc/$$/fd
  command -v flock >/dev/null || return
  while :; do
    exec {use_lock}>>"$environment.use" {build_lock}>>"$environment.build" || return
    flock --shared "$use_lock" || return
    if [[ ! -d $fds ]]; then return 0; fi
    if [[ $environment.use -ef $fds/$use_lock && $environment.build -ef $fds/$build_lock ]]; then return 0; fi
    exec {use_lock}>&- {build_lock}>&-
  done
}
lock || fail 78 "the environment cache $cache cannot be locked (flock). Set DKIST_ENVIRONMENT_CACHE to a local folder."
touch "$environment.use"  # when it was used last

if is_ready; then
  say "environment reused: $environment"
else
  flock --exclusive --nonblock "$build_lock" || {
    say "another task is building this environment; waiting for it"
    flock --exclusive --timeout "${DKIST_BUILD_WAIT_SECONDS:-3600}" "$build_lock" ||
      fail 69 "gave up waiting for another task that builds $environment."
  }
  if is_ready; then say "environment reused: $environment, built meanwhile"; else build; fi
fi
exec {build_lock}>&-

# ---- the task --------------------------------------------------------------------------------------------------------
export DKIST_RECIPE_RUN_ID=$recipe_run_id PYTHONUNBUFFERED=1 PYTHONNOUSERSITE=1
export VIRTUAL_ENV=$environment PATH=$environment/bin:$PATH
grace=${DKIST_GRACE_SECONDS:-10}
started=$SECONDS

# Job control is on where something is started, which gives it a process group of its own: so all of it, and nothing
# else, can be ended.
set -m
"$environment/bin/python" -P -m dkist_processing_core.run_task "$DKIST_TASK" \
  --workflow-name "$DKIST_WORKFLOW_NAME" --workflow-version "$DKIST_WORKFLOW_VERSION" </dev/null &
task=$!
set +m

end_task() {
  kill -TERM -- "-$task"
  for ((waited = 0; waited < grace; waited++)); do
    kill -0 -- "-$task" || return
    sleep 1
  done
  kill -KILL -- "-$task"
}

# When the process that started this script dies, Airflow forgets the task; it must not live on as an orphan.
watch_parent() {
  local parent=$PPID now
  while sleep 1; do
    read -r _ _ _ now _ <"/proc/$$/stat" || now=gone
    if [[ $now != "$parent" ]]; then end_task; return; fi
  done
}

helpers=()
start_helper() {
  set -m
  "$1" </dev/null >/dev/null 2>&1 {use_lock}>&- &
  helpers+=("$!")
  disown "$!"
  set +m
}

told_to_end=
on_signal() {
  interrupted=1
  if [[ -n $told_to_end ]]; then return; fi
  told_to_end=1
  say "told to end; the task has $grace s to do so"
  start_helper end_task
}
trap on_signal TERM INT HUP

if [[ -n ${AIRFLOW_CTX_DAG_ID:-} && -r /proc/$$/stat ]]; then start_helper watch_parent; fi

# A signal interrupts the wait, which then has to be taken up again. The task may have ended long before, so it is the
# wait that tells, never whether there is still a process of that number; 127 means that its status was told already.
status=
while :; do
  interrupted=
  wait "$task" 2>/dev/null
  told=$?
  if [[ -z $status || $told -ne 127 ]]; then status=$told; fi
  if [[ -z $interrupted ]]; then break; fi
done
for helper in "${helpers[@]}"; do kill -KILL -- "-$helper" 2>/dev/null; done
if kill -KILL -- "-$task" 2>/dev/null; then say "processes that the task had left behind were killed"; fi

if ((status == 137)); then say "the task was killed (SIGKILL); if nobody did, the worker ran out of memory" >&2; fi
say "task $DKIST_TASK ended with exit status $status after $((SECONDS - started)) s"
exit "$status"
