"""Day zero: the history before the first release, and that release: recall, clicks, policy."""

from _stage import reason, stage
from airflow.sdk import DAG, Param, chain

STEPS = ("history", "items", "launch", "stack", "sessions", "direct", "think", "release")

with DAG(
    "hintq_bootstrap",
    description="Builds the first release, which the daily loop starts from",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    max_active_tasks=2,
    tags=["aigq", "bootstrap"],
    doc_md=__doc__
    + """
Trigger it once; `aigq demo` does. Running it again is safe: a step whose inputs did not change
does nothing, and a bootstrap never replaces a newer release.
""",
    params={
        "day": Param(
            "2017-11-05",
            type="string",
            format="date",
            title="Last day of history",
            description="The first daily run is for the day after this one.",
        ),
        "reason": reason("bootstrap"),
    },
) as dag:
    steps = {step: stage(step, command=f"bootstrap {step}", day="params.day") for step in STEPS}
    chain(*(steps[step] for step in STEPS[:5]), [steps["direct"], steps["think"]], steps["release"])
