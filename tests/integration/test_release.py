"""Publishing on real S3 and Valkey: what is live stays until something newer is."""

from collections.abc import Callable
from datetime import date, timedelta

import pandas as pd
import pytest

from aigq_tasks.recall import u2q, versions
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.release import index_version, publish_release
from aigq_tasks.storage.ledger import Entry, LedgerConflict
from aigq_tasks.storage.manifests import Manifest, Output
from aigq_tasks.storage.tables import to_parquet

pytestmark = pytest.mark.integration
FIRST = date(2017, 11, 6)
FOREVER = -1  # what TTL says of a key without expiry


@pytest.fixture
def publish(ctx: Context) -> Callable[[int, str], Entry]:
    """publish(n, query) releases day n, with one list: that query for ann."""

    def stored(kind: str, day: date, table: pd.DataFrame) -> str:
        data = to_parquet(table)
        output = Output(ctx.store.put_blob(data), len(data))
        manifest = Manifest(stage=kind, day=day, outputs={f"{kind}.parquet": output})
        return ctx.manifests.create(manifest).digest

    def build(number: int, query: str) -> Entry:
        day = FIRST + timedelta(days=number - 1)
        ties = pd.DataFrame([("tea", 1, query, 0.5)])
        ties.columns = ["trigger", "rank", "query", "score"]
        entry = Entry(
            day=day,
            revision=1,
            parent=None,
            models={
                "u2q": stored("u2q", day, u2q.build({"ann": [query]}, day)),
                "x2q": stored("x2q", day, ties),
            },
            verdict="accepted",
            code="c",
            config="d",
            who="ann",
            why="test",
        )
        return publish_release(ctx, entry)

    return build


def lasting(ctx: Context, entry: Entry) -> bool:
    """Valkey holds the release's u2q and x2q and will not let them go."""
    with versions.connect(ctx.settings.valkey.url) as client:
        markers = [f"{kind}:{index_version(entry, kind)}" for kind in ("u2q", "x2q")]
        return [client.ttl(marker) for marker in markers] == [FOREVER, FOREVER]


def test_an_old_day_does_not_touch_what_is_live(
    ctx: Context, publish: Callable[[int, str], Entry]
) -> None:
    first = publish(1, "tea")
    live = publish(2, "jam")
    assert lasting(ctx, live)
    assert not lasting(ctx, first)
    assert publish(1, "tea") == first  # run again
    with pytest.raises(LedgerConflict, match="already released 2017-11-07"):
        publish(1, "oat milk")  # computed anew
    assert lasting(ctx, live)
    assert ctx.ledger.entries() == [first, live]


def test_a_lost_cache_of_the_live_release_is_loaded_again(
    ctx: Context, publish: Callable[[int, str], Entry]
) -> None:
    live = publish(1, "tea")
    with versions.connect(ctx.settings.valkey.url) as client:
        client.delete(f"u2q:{index_version(live, 'u2q')}", f"x2q:{index_version(live, 'x2q')}")
    assert not lasting(ctx, live)
    assert publish(1, "tea") == live
    assert lasting(ctx, live)
