"""
The units of systemd in ``deploy/``: their settings, and what they start, without systemd.

A unit is started with its own command, variables and secrets, and nothing else. The folders that it names are below one
of a test. Where root runs the tests, and may mount, it runs as another user, who has no capabilities and can write to
that folder alone.
"""

import functools
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from support.command_line import run_command, start_command
from support.releases import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
FILES = sorted((DEPLOY / "systemd").glob("*.service"))
TIMERS = sorted((DEPLOY / "systemd").glob("*.timer"))
COMMON = DEPLOY / "systemd" / "airflow-.service.d" / "common.conf"
PROGRAMS = {"/opt/dkist": str(DEPLOY), "/opt/airflow/bin": str(Path(sys.executable).parent)}
USER = 50000
HOME_OF_ROOT = pwd.getpwuid(0).pw_dir
# In a mount namespace of its own, which ends with the program: what it mounts is seen by nobody else. The home of root,
# where Python may be installed, becomes a folder with nothing but that Python.
CONFINE = f"""
set -eu
root=$1 python=$2; shift 2
mount --bind "$root" "$root"
case "$python" in {HOME_OF_ROOT}/*)
    mount --bind "$python" "$root/python"
    mount -t tmpfs -o mode=755 none {HOME_OF_ROOT}
    mkdir -p "$python"
    mount --bind "$root/python" "$python"
    mount -o remount,bind,ro {HOME_OF_ROOT};;
esac
mount -o remount,bind,ro /
exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


def settings(*files):
    """Return all values of each setting of the section Service, in order."""
    found = defaultdict(list)
    for file in files:
        section = re.split(r"^\[(\w+)\]$", file.read_text(), flags=re.MULTILINE)
        text = "".join(body for name, body in zip(section[1::2], section[2::2], strict=True) if name == "Service")
        for name, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
            found[name].append(value)
    return dict(found)


def seconds(text):
    """Return a time span of systemd, Nomad or Docker in seconds."""
    number, unit = re.fullmatch(r"(\d+) *(|s|m|min|h)", text).groups()
    return int(number) * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}[unit]


def variables(file):
    """Return the variables of an environment file."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@functools.cache
def can_confine():
    """Return whether this user may mount, in a namespace of its own; root of a container usually may not."""
    tried = ["unshare", "--mount", "mount", "-o", "remount,bind,ro", "/"]
    return (
        os.getuid() == 0
        and bool(shutil.which("setpriv"))
        and subprocess.run(tried, stderr=subprocess.DEVNULL).returncode == 0
    )


def give(root):
    """Give everything below a folder to the user of the units."""
    if can_confine():
        for path in [root, *root.rglob("*")]:
            os.chown(path, USER, USER, follow_symlinks=False)


def confined(root, command):
    """Return a command that confines another one as the units and the images do, as far as this user can."""
    (root / "python").mkdir(exist_ok=True)
    if not can_confine():
        return command
    return ["unshare", "--mount", "sh", "-c", CONFINE, "sh", str(root), sys.base_prefix, *map(str, command)]


class Machine:
    """
    The folders of a machine below one folder, to which the user of the units can write.

    Parameters
    ----------
    root
        The folder; the user must be able to get there.
    more
        Variables of every process, besides those of its unit.
    """

    def __init__(self, root, **more):
        self.root, self.more = root, more
        for each in ("var/lib/airflow", "var/lib/dkist", "var/cache/dkist", "var/log/airflow", "srv/airflow/dags"):
            (root / each).mkdir(parents=True)
        for each in ("etc/dkist/secrets", "credentials", "tmp"):
            (root / each).mkdir(parents=True)

    def place(self, text):
        """Return a text with the paths of programs and folders as they are here."""
        for path, here in PROGRAMS.items():
            text = re.sub(rf"(?<![\w./-]){path}(?=/)", here, text)
        return re.sub(r"(?<![\w./-])/(?=(?:etc/dkist|srv/airflow|var/(?:lib|log|cache)/\w+))", f"{self.root}/", text)

    def commands(self, name):
        """Return what a unit starts, each as words, and the variables that it gets."""
        unit = settings(DEPLOY / "systemd" / f"airflow-{name}.service", COMMON)
        credentials = self.root / "credentials" / name
        credentials.mkdir(exist_ok=True)
        for each in unit.get("LoadCredential", []):
            secret, _, source = each.partition(":")
            (credentials / secret).write_text(Path(self.place(source)).read_text())
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            **dict.fromkeys(("LOGNAME", "USER"), "airflow"),
            "HOME": self.place("/var/lib/airflow"),
            "TMPDIR": str(self.root / "tmp"),
            "CREDENTIALS_DIRECTORY": str(credentials),
            **self.more,
            **dict(self.place(each).split("=", 1) for each in unit["Environment"]),
        }
        for file in unit["EnvironmentFile"]:
            environment |= variables(Path(self.place(file)))
        expanded = [re.sub(r"\$\{(\w+)\}", lambda name: environment[name[1]], each) for each in unit["ExecStart"]]
        give(self.root)
        return [shlex.split(self.place(each)) for each in expanded], environment

    def start(self, name, *more_words, **more):
        """Start the last command of a unit, with its log in a file, and return its process."""
        commands, environment = self.commands(name)
        with (self.root / f"{name}.log").open("ab") as log:
            options = {"cwd": self.place("/var/lib/airflow"), "stdout": log, "stderr": subprocess.STDOUT}
            command = confined(self.root, [*commands[-1], *more_words])
            return start_command(*command, env={**environment, **more}, **options)

    def run(self, name, wait=600):
        """Run all commands of a unit to their end."""
        commands, environment = self.commands(name)
        options = {"env": environment, "cwd": self.place("/var/lib/airflow"), "seconds": wait}
        ended = [run_command(*confined(self.root, command), **options).check() for command in commands]
        return ended[-1].stdout

    def log(self, name):
        """Return what a unit has logged."""
        return (self.root / f"{name}.log").read_text()
