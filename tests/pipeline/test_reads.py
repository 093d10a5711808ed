"""What a stage's reads stand for, by hand-made days and releases."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.pipeline import calendar
from aigq_tasks.pipeline.reads import (
    Landing,
    LanguageModel,
    Logs,
    Moment,
    Nothing,
    Outside,
    Release,
    ReleaseId,
    Resolved,
    Result,
    Results,
    Truth,
    today,
)
from aigq_tasks.settings import Settings
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.objects import sha256

DAY = date(2017, 11, 6)
EVE = DAY - timedelta(days=1)
# bootstrap_day 2017-11-05; hints from 11-04 on; log from 10-30 on.
SETTINGS = Settings().model_copy(update={"bootstrap_day": EVE, "launch_days": 2, "history_days": 5})


def made(stage: str, day: date, **outputs: str) -> Manifest:
    blobs = {f"{name}.parquet": Blob(digest, 1) for name, digest in outputs.items()}
    return Manifest(stage=stage, day=day, outputs=blobs)


def entry(**models: str) -> Entry:
    words: dict[str, Any] = dict.fromkeys(("code", "config", "who", "why"), "")
    return Entry(
        number=3, day=EVE, revision=1, parent=None, verdict="bootstrap", models=models, **words
    )


def source(first: date = date(2017, 1, 1), last: date | None = date(2017, 12, 29)) -> Any:
    """One that knows the truth of every day, and two days ahead."""
    return SimpleNamespace(
        days=lambda: (first, last),
        digest=lambda day: f"source {day}",
        truth=lambda day: "known",
        truth_ahead=2,
    )


def moment(
    *results: Manifest, day: date = DAY, parent: Entry | None = None, log: Any = None
) -> Moment:
    known = {(one.stage, one.day): one for one in results}

    def heads(stage: str, days: Iterable[date]) -> dict[date, Manifest]:
        return {day: known[stage, day] for day in days if (stage, day) in known}

    by_digest = {one.digest: one for one in results}
    return Moment(day, SETTINGS, parent, log or source(), heads, by_digest.__getitem__)


def test_a_result_is_the_newest_of_its_day() -> None:
    ctr = made("ctr", DAY)
    found = Result("ctr").resolve(moment(ctr))
    assert found is not None
    assert (found.digest, found.manifests) == (ctr.digest, (ctr,))
    with pytest.raises(AigqError, match="ctr of 2017-11-06 is missing: run 'aigq ctr --day"):
        Result("ctr").resolve(moment())


def test_a_result_may_be_of_another_day_stand_in_for_another_and_be_read_on_some_days() -> None:
    sft = made("sft", EVE)
    read = Result("sft", calendar.eve, key="release direct")
    assert read.key == "release direct"
    assert read.resolve(moment(sft)) == Result("sft", calendar.eve).resolve(moment(sft))
    assert Result("ctr", when=lambda moment: False).resolve(moment()) is None
    assert Result("ctr", when=lambda moment: False).upstream(moment()) == []


def test_results_of_several_days_have_one_digest() -> None:
    days = [made("samples", EVE), made("samples", DAY)]
    read = Results("samples", "sessions", lambda moment: [EVE, DAY])
    assert read.key == "samples: sessions"
    found = read.resolve(moment(*days))
    assert found.manifests == tuple(days)
    assert found.digest == sha256(f"{days[0].digest}\n{days[1].digest}".encode())
    with pytest.raises(AigqError, match="samples of 2017-11-06 is missing"):
        read.resolve(moment(days[0]))


def test_of_the_log_only_the_declared_tables_count() -> None:
    read = Logs("both", ("searches", "late_clicks"), lambda moment: [EVE, DAY])
    days = [made("logs", EVE, searches="a"), made("logs", DAY, searches="b", late_clicks="c")]
    found = read.resolve(moment(*days))
    assert found is not None
    lines = f"{EVE} searches a\n{DAY} searches b\n{DAY} late_clicks c"
    assert found.digest == sha256(lines.encode())
    more = [made("logs", EVE, searches="a", users="x"), days[1]]
    again = read.resolve(moment(*more))
    assert again is not None
    assert again.digest == found.digest  # the users of a day are nothing to it
    other = read.resolve(moment(made("logs", EVE, searches="z"), days[1]))
    assert other is not None
    assert other.digest != found.digest


def test_a_model_is_that_of_the_release_or_a_pinned_one() -> None:
    direct, other = made("policy", EVE), made("policy", DAY)
    now = moment(direct, other, parent=entry(direct=direct.digest))
    found = Release("direct").resolve(now)
    assert found is not None
    assert found.manifests == (direct,)
    pinned = Release("direct", pinned=other.digest).resolve(now)
    assert pinned is not None
    assert pinned.manifests == (other,)
    assert Release("x2q", optional=True).resolve(now) is None
    with pytest.raises(AigqError, match=r"release 3 \(2017-11-05\) has no x2q model"):
        Release("x2q").resolve(now)
    with pytest.raises(AigqError, match="no release serves 2017-11-06: run 'aigq bootstrap'"):
        Release("x2q").resolve(moment())
    assert Release("x2q", optional=True).resolve(moment()) is None


def test_a_release_is_named_by_its_models_alone() -> None:
    one = entry(direct="a", ctr="b")
    same = replace(one, number=9, who="somebody", why="else", verdict="rollback")
    other = entry(direct="a", ctr="c")
    ids = [ReleaseId().resolve(moment(parent=own)) for own in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]
    assert ReleaseId().resolve(moment()) is None


def test_the_truth_is_digested_by_the_source_as_far_ahead_as_it_says() -> None:
    found, ahead = Truth().resolve(moment()), Truth(ahead=True).resolve(moment())
    assert found is not None
    assert ahead is not None
    assert (found.days, found.digest) == ((DAY,), sha256(b"source 2017-11-06"))
    assert ahead.days == (DAY, DAY + timedelta(days=1), DAY + timedelta(days=2))
    lines = b"source 2017-11-06\nsource 2017-11-07\nsource 2017-11-08"
    assert ahead.digest == sha256(lines)


def test_of_days_without_a_truth_nothing_is_read() -> None:
    def unread(day: date) -> str:
        raise AssertionError(f"{day} is digested")

    log = source()
    log.truth, log.digest = lambda day: None, unread
    assert Truth(ahead=True).resolve(moment(log=log)) is None
    log.truth = lambda day: "known" if day == DAY else None  # tomorrow nobody knows yet
    log.digest = {DAY: "source"}.__getitem__
    found = Truth(ahead=True).resolve(moment(log=log))
    assert found is not None
    assert (found.days, found.digest) == ((DAY,), sha256(b"source"))


def test_what_lies_outside_the_store_is_known_by_its_digest() -> None:
    read = Outside("base model", lambda settings: f"of {settings.policy.backbone}")
    assert read.key == "base model"
    assert read.resolve(moment()) == Resolved("of tiny")
    assert read.upstream(moment()) == []


def test_another_language_model_is_another_input_and_where_it_runs_is_none() -> None:
    def digest(**changes: Any) -> str:
        teacher = SETTINGS.teacher.model_copy(update=changes)
        now = replace(moment(), settings=SETTINGS.model_copy(update={"teacher": teacher}))
        return LanguageModel().resolve(now).digest

    asked = digest(url="http://here/v1", model="good")
    assert digest() == digest(retries=9) != asked  # without a URL the stand-in answers
    assert asked == digest(url="http://there/v1", model="good", concurrency=1)
    for name, value in {"model": "x", "seed": 1, "max_tokens": 2, "price_in": 3.0}.items():
        assert digest(**{"url": "http://here/v1", "model": "good", name: value}) != asked


def test_nothing_is_declared_too() -> None:
    read = Nothing("gate")
    assert (read.key, read.resolve(moment()), read.upstream(moment())) == ("gate", None, [])


def test_a_day_that_the_source_lacks_is_outside_the_log() -> None:
    read = Landing(calendar.landed_from)
    first, last = date(2017, 10, 30), date(2017, 12, 29)
    for day in (first, DAY, last):
        assert read.resolve(moment(day=day)).digest == f"source {day}"
    for day in (first - timedelta(days=1), last + timedelta(days=1)):
        with pytest.raises(OutsideTheLog, match=r"outside the log's days 2017-10-30\.\.2017-12-29"):
            read.resolve(moment(day=day))
    young = source(first=EVE, last=None)
    with pytest.raises(OutsideTheLog):
        read.resolve(moment(day=first, log=young))
    assert read.resolve(moment(day=date(2030, 1, 1), log=young)).days == (date(2030, 1, 1),)


def test_windows_of_days() -> None:
    # launch 11-04, first log day 11-04 - 5 = 10-30.
    def span(days: list[date]) -> tuple[str, str, int]:
        return str(days[0]), str(days[-1]), len(days)

    now = moment(parent=entry())
    assert calendar.launch_day(SETTINGS) == date(2017, 11, 4)
    assert calendar.first_log_day(SETTINGS) == date(2017, 10, 30)
    assert span(calendar.history(now)) == ("2017-11-02", "2017-11-06", 5)
    assert span(calendar.before(now)) == ("2017-11-01", "2017-11-05", 5)
    assert span(calendar.views(now)) == ("2017-10-30", "2017-11-06", 8)  # 14, as far as there are
    assert span(calendar.shown(now)) == ("2017-11-04", "2017-11-06", 3)  # 14, from the launch on
    assert calendar.since_release(now) == [DAY]
    assert calendar.since_release(moment()) == calendar.history(now)
    early = moment(day=date(2017, 10, 31))
    assert span(calendar.history(early)) == ("2017-10-30", "2017-10-31", 2)
    with pytest.raises(AigqError, match="no hints before 2017-11-04"):
        calendar.shown(moment(day=date(2017, 11, 3)))
    with pytest.raises(AigqError, match="2017-10-29 lies before the first log day 2017-10-30"):
        calendar.before(moment(day=date(2017, 10, 30)))


def test_the_same_day_is_upstream_of_a_window_that_holds_it() -> None:
    assert ("logs", DAY) in Logs("h", ("users",), calendar.history).upstream(moment())
    assert ("logs", DAY) not in Logs("b", ("users",), calendar.before).upstream(moment())
    assert Logs("t", ("users",), today).upstream(moment()) == [("logs", DAY)]
