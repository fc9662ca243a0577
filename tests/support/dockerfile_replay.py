"""
Do what a Dockerfile says without an engine: in folders of a test, with the programs of this machine.

Absolute paths are put below a folder. The programs that need root (groupadd, useradd, and install for its ownership)
are stand-ins, which write down what they were asked to do; all else is done for real.
"""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from support.command_line import run_command

FOLDERS = ("/opt/", "/notebooks", "/etc/pip.conf", "/var/cache/", "/var/lib/", "/var/log/")
STAND_IN = """\
#!/bin/sh
echo "$(basename "$0") $*" >> {log}
case "$0 $*" in *"/install --directory "*) for each; do case $each in /*) mkdir -p "$each";; esac; done;; esac
"""


# What is kept of other steps: as which attribute, and how it is read.
READ = {
    "USER": ("user", str),
    "WORKDIR": ("folder", Path),
    "HEALTHCHECK": ("health", lambda text: json.loads(text[text.index("[") :])),
    "ENTRYPOINT": ("entrypoint", json.loads),
    "CMD": ("command", json.loads),
}


def instructions(text):
    """Return the instructions of a Dockerfile, each with its arguments, lines that go on put together."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


class Replay:
    """An image as far as folders can be one."""

    def __init__(self, file, root):
        self.context, self.root = file.parent, root
        self.log = root / "stand-ins.log"
        self.environment = {**os.environ, "HOME": str(root / "home")}
        self.command = self.health = self.user = self.folder = None
        self.entrypoint = []
        self.labels = {}
        self.steps = instructions(file.read_text())
        for folder in ("bin", "home"):
            (root / folder).mkdir(parents=True)
        for name in ("groupadd", "useradd", "install"):
            (root / "bin" / name).write_text(STAND_IN.format(log=shlex.quote(str(self.log))))
            (root / "bin" / name).chmod(0o755)
        # The base image's "python" is the one that runs the tests.
        (root / "bin" / "python").symlink_to(sys.executable)

    def below(self, text):
        """Return a text with its absolute paths below the root."""
        for folder in FOLDERS:
            text = re.sub(rf"(?<![\w.-]){re.escape(folder)}", f"{self.root}{folder}", text)
        return text

    def run(self, **environment):
        """Do all steps."""
        self.environment |= environment
        self.environment["PATH"] = f"{self.root / 'bin'}:{self.environment['PATH']}"
        for name, arguments in self.steps:
            if name in READ:
                attribute, read = READ[name]
                setattr(self, attribute, read(self.below(arguments)))
            else:
                getattr(self, f"_{name.lower()}", lambda _: None)(self.below(arguments))

    def _env(self, arguments):
        for word in shlex.split(arguments):
            name, _, value = word.partition("=")
            self.environment[name] = value.replace("$PATH", self.environment["PATH"])

    def _arg(self, arguments):
        name, _, value = arguments.partition("=")
        self.environment[name] = value

    def _run(self, arguments):
        command = re.sub(r"--mount=\S+\s+", "", arguments)
        run_command("/bin/sh", "-xc", command, cwd=self.root, env=self.environment, merge=True, seconds=600).check()

    def _label(self, arguments):
        self.labels |= dict(word.split("=", 1) for word in shlex.split(arguments))

    def _copy(self, arguments):
        *sources, target = [word for word in arguments.split() if not word.startswith("--")]
        (Path(target) if target.endswith("/") else Path(target).parent).mkdir(parents=True, exist_ok=True)
        for source in sources:
            shutil.copy(self.context / source, target)
