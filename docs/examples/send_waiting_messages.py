"""Send the messages that wait in the spool folder of this worker, the oldest first, once the bus answers again."""

from dkist_processing_core.isb.publisher import publish
from dkist_processing_core.isb.spool import waiting

for file, envelope in waiting():
    publish([envelope])  # raises unless the broker has confirmed it; the file then stays
    file.unlink()
    print(f"sent {file.name}")
