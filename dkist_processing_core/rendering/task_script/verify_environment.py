# Part of the task script; runs on the Python of an environment that was just built. Ends with a message unless
# every file that the installed distributions list in their RECORD is there, and the program that runs a task can be
# imported.
import sys
import sysconfig
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path

# Only what the installer has put there: a checkout that is installed editable has lists of its own, of another shape.
INSTALLED = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]

missing = [
    f"{distribution.metadata['Name']}: {file}"
    for distribution in distributions(path=INSTALLED)
    for file in distribution.files or ()
    if file.suffix != ".pyc" and not Path(str(file.locate())).exists()
]
if missing:
    sys.exit(f"{len(missing)} files of the environment are missing, such as {missing[0]}")
try:
    import_module("dkist_processing_core.runtime.main")
except ImportError as error:
    sys.exit(
        f"this environment cannot run a task: {error}. The release that is installed here must depend on "
        "dkist-processing-core 8 or later."
    )
