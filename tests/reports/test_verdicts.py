"""Verdicts as the log of a task shows them, from real S3."""

import pytest
from small_release import DAY, store_files

from aigq_tasks.evaluation.gates import Check, Verdict
from aigq_tasks.settings import Settings
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.verdicts import print_quality, print_servable
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Ledger
from aigq_tasks.storage.manifests import Manifests
from aigq_tasks.storage.objects import ObjectStore

pytestmark = pytest.mark.integration


def test_what_a_person_reads(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    ctx = Context(Settings(), store, Manifests(store), Ledger(store))
    checks = (Check("alarms", 1, limit=0), Check("offpolicy_effective", 12.34))
    verdict = Verdict(False, ("reward hacking: [bold][/]",), checks)
    gate = store_files(ctx, "gate", DAY, {"verdict.json": verdict.to_json().encode()})
    note = print_quality(ctx, gate)
    assert note == "AIGQ-Direct of 2017-11-06: rejected\n- reward hacking: [bold][/]"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "AIGQ-Direct of 2017-11-06: rejected"
    assert max(map(len, lines)) <= 100
    words = [line.replace("\u2502", " ").split() for line in lines]
    assert ["alarms", "1.0000", "<=", "0.0000", "NO"] in words
    assert ["offpolicy_effective", "12.3400", "-", "yes"] in words
    assert lines[-1] == "- reward hacking: [bold][/]"  # logged text is no markup

    refused = to_json({"servable": False, "reasons": ["the u2q cache is empty"]})
    print_servable(ctx, store_files(ctx, "servable", DAY, {"servable.json": refused}))
    assert capsys.readouterr().out.splitlines() == [
        "release of 2017-11-06: cannot be served",
        "- the u2q cache is empty",
    ]
