"""Send the messages that wait in the spool folder of this worker, the oldest first, once the bus answers again."""

from dkist_processing_core.isb.publisher import PublishError, publish
from dkist_processing_core.isb.spool import waiting

for file, envelope in waiting():
    try:
        publish([envelope])
    except PublishError as error:  # the broker has not confirmed it, so the file stays
        print(f"not sent {file.name}: {error}")
    else:
        file.unlink()
        print(f"sent {file.name}")
