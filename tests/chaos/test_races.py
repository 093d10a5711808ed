"""Ten publish races of eight writers; `make chaos` has 200."""

import pytest
from chaos import races
from servers import S3Server, delete_bucket

from aigq_tasks.settings import Settings

pytestmark = pytest.mark.integration


def test_every_race_has_one_winner_per_number(settings: Settings, s3_server: S3Server) -> None:
    outcomes = list(races.run_races(settings, count=10, seed=5))
    for lane in range(races.AT_ONCE):
        delete_bucket(s3_server, races.lane_bucket(settings, lane))
    assert [sum(outcome) for outcome in outcomes] == [races.WRITERS] * 10
    assert sum(shelved for _, shelved in outcomes) > 0
