from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.releases.gc import closure, needed, objects_of
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest

FIRST = date(2017, 11, 1)


def manifest(stage: str, day: int, *inputs: Manifest, revision: int = 1) -> Manifest:
    name = f"{stage}-{day}-{revision}"
    return Manifest(
        stage=stage,
        day=FIRST + timedelta(days=day),
        revision=revision,
        inputs={f"input {n}": one.digest for n, one in enumerate(inputs)},
        outputs={"data": Blob(name, 1)},
    )


def entry(number: int, made: Manifest, *others: Manifest) -> Entry:
    return Entry(
        number=number,
        day=made.day,
        revision=1,
        parent=None,
        manifests={one.stage: one.digest for one in (made, *others)},
        models={"direct": made.digest},
        verdict="accepted",
        code="c",
        config="d",
        who="w",
        why="test",
    )


def by_digest(*manifests: Manifest) -> dict[str, Manifest]:
    return {one.digest: one for one in manifests}


def test_by_hand() -> None:
    logs = [manifest("logs", 0)]
    for day in range(1, 6):
        logs.append(manifest("logs", day, logs[-1]))  # it reads the one before
    sft = manifest("sft", 0, logs[0])
    policies: list[Manifest] = []
    for day in range(1, 6):  # each goes on from the one that serves
        made = manifest("policy", day, sft, logs[day], revision=2 if day == 5 else 1)
        served = {"release direct": policies[-1].digest} if policies else {}
        policies.append(replace(made, inputs=made.inputs | served))
    stale = manifest("policy", 5)
    pending = manifest("samples", 5, logs[5])
    known = by_digest(*logs, sft, *policies, stale, pending)
    entries = [entry(n, policy) for n, policy in enumerate(policies, start=1)]
    kept = needed(known, entries, days=2, history_days=1)
    # Releases of days 4 and 5, and of day 3, which served day 4; what they were made of: IL-SFT of
    # day 0 and its log; logs of one day before day 3; the newest results of days 4 and 5.
    expected = [sft, logs[0], *logs[2:], *policies[2:], pending]
    assert kept == {one.digest for one in expected}
    assert objects_of(known, kept) >= {"policy-5-2", "sft-0-1"}
    assert "policy-5-1" not in objects_of(known, kept)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, Manifest], list[Entry]]:
    """Days of results that read any earlier ones, and a release a day."""
    made: list[Manifest] = []
    entries = []
    for day in range(draw(st.integers(1, 8))):
        for stage in ("logs", "ctr", "policy"):
            earlier = draw(st.lists(st.sampled_from(made), max_size=3)) if made else []
            made.append(manifest(stage, day, *earlier))
        others = draw(st.lists(st.sampled_from(made), max_size=3))
        entries.append(entry(day + 1, made[-1], *others))
    return by_digest(*made), entries


def all_of(manifests: dict[str, Manifest], start: str) -> Iterator[str]:
    """The digest and, step by step, all that it was made of; but for logs, and for what a release
    served."""
    yield start
    for key, one in manifests[start].inputs.items():
        if manifests[start].stage != "logs" and not key.startswith("release "):
            yield from all_of(manifests, one)


@given(histories(), st.integers(1, 9), st.integers(0, 9))
def test_a_kept_release_keeps_all_that_it_was_made_of(
    history: tuple[dict[str, Manifest], list[Entry]], days: int, history_days: int
) -> None:
    manifests, entries = history
    kept = needed(manifests, entries, days, history_days)
    for own in entries[-days:]:
        for digest in (*own.manifests.values(), *own.models.values()):
            assert set(all_of(manifests, digest)) <= kept
    assert closure(manifests, kept) == kept
    assert kept <= needed(manifests, entries, days + 1, history_days)
    # Collected once, nothing is left to collect.
    rest = {digest: manifests[digest] for digest in kept}
    assert needed(rest, entries, days, history_days) == kept


def test_what_the_next_gate_pools_and_its_anchor_stay() -> None:
    """One day is kept, and the release that served it; behind both lie older days."""
    policies = [manifest("policy", day) for day in range(12)]
    scored = [manifest("evaluate", day) for day in range(12)]
    entries = [entry(1, policies[0])]
    for day in range(1, 12):
        parent = 9 if day == 11 else day  # day 11 started anew from day 8
        made = entry(day + 1, policies[day], scored[day])
        entries.append(replace(made, parent=parent))
    known = by_digest(*policies, *scored)
    kept = needed(known, entries, days=1, history_days=1)
    # The run of day 12 pools days 6 to 8 and 11, its anchor is of day 5; that of day 11, which
    # release 11 served, pools days 5 to 10, its anchor is of day 4.
    expected = [*policies[4:], *scored[5:]]
    assert kept == {one.digest for one in expected}
