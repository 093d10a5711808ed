"""Where a test may kill a process: after everything that lasts, and before what would follow.

`AIGQ_CRASH_AT=manifest` makes the process kill itself (SIGKILL) when it first comes to the point
of that name, as a power cut would. Without the variable a point does nothing.
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
)
# Of a stage that trains by IL-GRPO, before those.
TRAINING_POINTS = (
    "checkpoint-half",  # a checkpoint has its weights, and no mark that it is whole
    "checkpoint",  # it is whole
)
# Of a stage that is tracked, after those.
TRACKING_POINTS = (
    "run",  # MLflow has a run without content
    "metrics",  # the run has its numbers and settings
    "artifacts",  # and its files; the series has nothing of it
    "series",  # the series run was made, it is empty
    "series-metrics",  # the series has the numbers, the run is not finished
)
# Of a tracked stage whose result is a model, between its artifacts and the series.
MODEL_POINTS = (
    "model",  # the registered model exists
    "model-files",  # the files of the version are there, the version is not
    "model-version",
)
# Of `publish` and `rollback`.
RELEASE_POINTS = (
    "u2q-half",  # Valkey has keys of the new lists, and no mark that they are all there
    "x2q-half",  # the same of the index
    "indexes",  # Valkey has them all, the ledger has no entry
    "ledger-body",  # the entry can be read by its digest, the ledger does not have it
    "ledger",  # the release is live
    "u2q-retire",  # lists from before are about to expire in part
    "x2q-retire",
)
SHELF_POINTS = ("ledger-body", "shelf")  # of `publish` for a day that does not go live
# Of `gc`.
GC_POINTS = (
    "gc-manifest",  # one manifest is removed
    "gc-manifests",  # all of them, no object yet
    "gc-object",  # one object is removed
)


def crash_point(name: str) -> None:
    """Kill the process if it is armed for this point."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
