from datetime import date

from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.lexicon import load_phrasings
from aigq_tasks.sources.market.pretraining import behaviours_between
from aigq_tasks.sources.market.visits import searches_and_clicks, visits_between

FIRST, LAST = date(2017, 3, 1), date(2017, 3, 2)


def test_it_holds_searches_and_items_and_no_hint() -> None:
    table, profiles = behaviours_between(FIRST, LAST, 17)
    market = MarketConfig()
    searches, clicks = searches_and_clicks(visits_between(FIRST, LAST, market, 17), market, 17)
    assert table["kind"].value_counts().to_dict() == {
        "search": len(searches),
        "item_click": len(clicks),
    }
    assert set(table["time"].dt.date) == {FIRST, LAST}
    assert set(table["user_id"]) <= set(profiles)
    assert "" in profiles.values()
    assert any(" " in words for words in profiles.values())
    # Items go by the most common phrase of their need, not by a title of the catalogue.
    common = {phrasings[0] for phrasings in load_phrasings()}
    assert set(table[table["kind"] == "item_click"]["content"]) <= common
