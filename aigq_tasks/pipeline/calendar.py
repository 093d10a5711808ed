"""Days and windows of days, as the settings lay them out.

first_log_day ... launch_day ... stack_day ... bootstrap_day | the daily loop
     history_days    |  hints by release 1 |  by release 2   |  by release 3 and on
"""

from datetime import date, timedelta
from typing import TYPE_CHECKING

from aigq_tasks.errors import AigqError, NothingToDo
from aigq_tasks.pipeline.reads import Moment

if TYPE_CHECKING:
    from aigq_tasks.settings import Settings


VIEW_DAYS = 14


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def launch_day(settings: "Settings") -> date:
    """The first day with hint impressions."""
    return settings.bootstrap_day - timedelta(days=settings.launch_days - 1)


def stack_day(settings: "Settings") -> date:
    """The last day that release 1 serves, and the first that a click model is trained to."""
    return settings.bootstrap_day - timedelta(days=settings.samples.bootstrap_days)


def first_log_day(settings: "Settings") -> date:
    """The first day of log that is landed at all."""
    return launch_day(settings) - timedelta(days=settings.history_days)


def bootstrap_days(settings: "Settings") -> list[date]:
    """The days whose sessions the first policies learn from: those of the first full stack."""
    return days_between(stack_day(settings) + timedelta(days=1), settings.bootstrap_day)


def think_is_due(settings: "Settings", day: date) -> bool:
    """Whether the run for `day` renews AIGQ-Think: every so many days after the bootstrap."""
    return (day - settings.bootstrap_day).days % settings.think.update_days == 0


def require_think_due(settings: "Settings", day: date) -> None:
    """NothingToDo on a day that does not renew AIGQ-Think."""
    if not think_is_due(settings, day):
        every, since = settings.think.update_days, settings.bootstrap_day
        raise NothingToDo(
            f"AIGQ-Think is not renewed on {day}: every {every} days from {since} on "
            "(think.update_days)"
        )


# What reads are declared with: windows of a moment.


def eve(moment: Moment) -> date:
    """The day before."""
    return moment.day - timedelta(days=1)


def landed_from(moment: Moment) -> date:
    """The first day that the source is asked for."""
    return max(first_log_day(moment.settings), moment.source.days()[0])


def history(moment: Moment) -> list[date]:
    """The days that a stage may look back on, the day itself included."""
    return _trailing(moment, moment.day, moment.settings.history_days)


def before(moment: Moment) -> list[date]:
    """The days that are known when the day begins."""
    return _trailing(moment, eve(moment), moment.settings.history_days)


def profiles_before(moment: Moment) -> list[date]:
    """The four weeks before the day: whoever came then has a profile."""
    return before(moment)[-28:]


def views(moment: Moment) -> list[date]:
    """The two weeks whose page views count for a query's effect."""
    return _trailing(moment, moment.day, VIEW_DAYS)


def since_release(moment: Moment) -> list[date]:
    """The days of log since the release that the day starts from; all of them before the first."""
    if moment.parent is None:
        return history(moment)
    return _trailing(moment, moment.day, (moment.day - moment.parent.day).days)


def shown(moment: Moment) -> list[date]:
    """The days of impressions that a click model is trained on."""
    settings = moment.settings
    first = max(launch_day(settings), moment.day - timedelta(days=settings.ctr.window_days - 1))
    if moment.day < first:
        raise AigqError(f"no hints before {first}: nothing to train a click model on")
    return _trailing(moment, moment.day, (moment.day - first).days + 1)


def sessions(moment: Moment) -> list[date]:
    """The days whose sessions the first AIGQ-Direct learns from."""
    return bootstrap_days(moment.settings)


def think_sessions(moment: Moment) -> list[date]:
    """The days whose sessions the first AIGQ-Think learns from: the latest of them."""
    return sessions(moment)[-moment.settings.think.bootstrap_days :]


def is_served(moment: Moment) -> bool:
    """Whether a release serves the day."""
    return moment.parent is not None


def renews_think(moment: Moment) -> bool:
    return think_is_due(moment.settings, moment.day)


def _trailing(moment: Moment, last: date, days: int) -> list[date]:
    """The `days` days that end with `last`, none before the first that is landed."""
    first = max(landed_from(moment), last - timedelta(days=days - 1))
    if last < first:
        raise AigqError(f"{last} lies before the first log day {first}")
    return days_between(first, last)
