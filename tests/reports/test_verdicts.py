"""Verdicts as the log of a task shows them, from real S3."""

import pytest
from small_release import DAY, store_files

from aigq_tasks.cli.printing import print_verdicts
from aigq_tasks.evaluation.gates import Check, Verdict
from aigq_tasks.pipeline.context import Context
from aigq_tasks.reports.verdicts import verdicts
from aigq_tasks.storage.canonical import to_json

pytestmark = pytest.mark.integration


def test_what_a_person_reads(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    checks = (Check("alarms", 1, limit=0), Check("offpolicy_effective", 12.34))
    verdict = Verdict(False, ("reward hacking: [bold][/]",), checks)
    gate = store_files(ctx, "gate", DAY, {"verdict.json": verdict.to_json().encode()})
    note = print_verdicts(verdicts(ctx, gate))
    assert note == "AIGQ-Direct of 2017-11-06: rejected\n- reward hacking: [bold][/]"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "AIGQ-Direct of 2017-11-06: rejected"
    assert max(map(len, lines)) <= 100
    words = [line.replace("\u2502", " ").split() for line in lines]
    assert ["alarms", "1.0000", "<=", "0.0000", "NO"] in words
    assert ["offpolicy_effective", "12.3400", "-", "yes"] in words
    assert lines[-1] == "- reward hacking: [bold][/]"  # logged text is no markup

    refused = to_json({"servable": False, "reasons": ["the u2q cache is empty"]})
    servable = store_files(ctx, "servable", DAY, {"servable.json": refused})
    print_verdicts(verdicts(ctx, servable))
    assert capsys.readouterr().out.splitlines() == [
        "release of 2017-11-06: cannot be served",
        "- the u2q cache is empty",
    ]


def test_no_other_stage_gives_one(ctx: Context) -> None:
    assert verdicts(ctx, store_files(ctx, "ctr", DAY, {"model.json": b"{}"})) == []
