"""
Let the environment that runs this measure what its processes execute of this library; data of before goes.

The measurement is started by a file in the environment and by no variable, since the tests set and count variables.
"""

import shutil
import sysconfig
from pathlib import Path

import coverage.tracer  # noqa: F401 - without it, no process could import this library
import start

folder = Path(sysconfig.get_path("purelib"))
module = folder / "measure_coverage.py"
module.unlink(missing_ok=True)
module.symlink_to(start.__file__)
(folder / "measure_coverage.pth").write_text("import measure_coverage\n")

data = Path(start.DATA)
shutil.rmtree(data, ignore_errors=True)
data.mkdir(parents=True)
data.chmod(0o1777)  # some tests start processes of other users
