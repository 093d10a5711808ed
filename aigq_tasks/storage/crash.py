"""Where a test may kill a process: after everything that lasts, and before what would follow.

`AIGQ_CRASH_AT=manifest` makes the process kill itself (SIGKILL) at the point of that name, as a
power cut would. Without the variable a point does nothing.
"""

import os
import signal

VARIABLE = "AIGQ_CRASH_AT"
# Of a stage, in the order in which it passes them.
STAGE_POINTS = (
    "computed",  # nothing is stored
    "object",  # the first of the outputs is stored
    "objects",  # all outputs are stored, the manifest is not
    "manifest-body",  # the manifest can be read by its digest, not by its name
    "manifest",  # the result is there, MLflow knows nothing of it
    "run",  # MLflow has a run without content
    "metrics",  # the run has its numbers, the series has not
)
# Of `publish` and `rollback`.
RELEASE_POINTS = (
    "index-half",  # Valkey has some of the keys of a new version
    "indexes",  # Valkey has them all, the ledger has no entry
    "ledger",  # the release is live
)


def crash_point(name: str) -> None:
    """Kill the process if it is armed for this point."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
