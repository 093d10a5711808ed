"""A person's say before a challenger goes live: what is asked, and what a rejection leaves.

Airflow puts the question (`dags/_approval.py`), with `comparison` as its text. Approved: `publish`
as ever. Rejected: `decline` in its place, so that the ledger tells who and why.
"""

from dataclasses import replace
from datetime import date
from typing import Any

from aigq_tasks.errors import NothingToDo
from aigq_tasks.evaluation.truth import headed
from aigq_tasks.messages import about, markdown
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reading import live_entry, need, record
from aigq_tasks.releases.live import publish_release
from aigq_tasks.releases.publish import candidate
from aigq_tasks.stages.evaluate import INTERLEAVED, THINK_CHALLENGER, WITHOUT_AIGQ
from aigq_tasks.storage.ledger import Entry

# variant -> its arms in the evaluation: the one that asks, and the one that serves
ARMS = {
    "AIGQ-Direct": ("challenger", "champion"),
    "AIGQ-Think": (THINK_CHALLENGER, "think"),
}

Results = dict[str, dict[str, dict[str, float]]]  # arm -> metric -> mean, low, high, n


def comparison(ctx: Context, day: date) -> str:
    """What a person has to decide on, as Markdown.

    NothingToDo when there is nothing to decide: the gate rejected what was trained, so no policy
    would change, or the release cannot be served, which `publish` refuses by itself.
    """
    about("comparison", day)
    preflight(("s3",), ctx)
    verdicts = _verdicts(record(ctx, need(ctx, "gate", day), "verdict.json"))
    if not any(verdict["accepted"] for verdict in verdicts.values()):
        raise NothingToDo(f"no challenger of {day} was accepted: there is nothing to approve")
    if not record(ctx, need(ctx, "servable", day), "servable.json")["servable"]:
        raise NothingToDo(f"the release of {day} cannot be served: there is nothing to approve")
    parent = live_entry(ctx, day)
    results = record(ctx, need(ctx, "evaluate", day), "results.json")
    heading = f"The release of {day} would take the place of release {parent.number}."
    return "\n\n".join([heading, *(_section(*own, results) for own in verdicts.items())])


def decline(ctx: Context, day: date, who: str, why: str) -> Entry:
    """Record that a person rejected the day's release: an entry that serves what its parent
    serves. The next day goes on from there. Run again: nothing happens."""
    about("decline", day)
    preflight(("s3", "valkey"), ctx)
    entry = candidate(ctx, day, who, why)
    parent = live_entry(ctx, day)
    declined = replace(entry, models=parent.models, parent=parent.number, verdict="rejected")
    return publish_release(ctx, declined)


def _verdicts(written: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Variant -> its verdict, of those that were trained on the day."""
    think = {"AIGQ-Think": written["think"]} if "think" in written else {}
    return {"AIGQ-Direct": written, **think}


def _section(variant: str, verdict: dict[str, Any], results: Results) -> str:
    """One variant: the verdict with its reasons, and its metrics beside those of the champion and
    of two arms that a person would try in an hour."""
    outcome = "accepted by the gate" if verdict["accepted"] else "rejected by the gate: stays out"
    told = [*verdict["reasons"], *verdict.get("anchors", {}).get("words", [])]
    reasons = "\n".join(f"- {reason}" for reason in told)
    new, old = ARMS[variant]
    shown = {"challenger": new, "champion": old, INTERLEAVED: INTERLEAVED}
    shown[WITHOUT_AIGQ] = WITHOUT_AIGQ
    rows = [
        {"metric (mean, 95 % interval)": headed(metric)}
        | {heading: _interval(results[arm].get(metric)) for heading, arm in shown.items()}
        for metric in sorted(results[new].keys() & results[old].keys())
    ]
    return f"### {variant}: {outcome}\n\n{reasons}\n\n{markdown(rows).rstrip()}"


def _interval(value: dict[str, float] | None) -> str:
    """ "-" of what an arm has no such figure of: nothing predicts the clicks of a rule's list."""
    if value is None:
        return "-"
    return f"{value['mean']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
