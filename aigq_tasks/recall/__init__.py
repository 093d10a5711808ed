"""What may be shown to a user: queries from several sources, ranked, and put on a page.

    asked     who asks, when, after what: behaviours and requests as arrays; RecallSource
    popularity, own_history  built from the log by counting
    cooccurrence  five sources that count what goes together
    clusters  vectors of queries, and clusters of them
    ebr       the two-tower model
    u2q       the lists that a policy wrote, and recall from them
    x2q       Eq 19: the index from triggers to queries, and recall from it
    likeness  near-duplicates, and a ranking without them
    stack     HintStack: candidates of all sources, ranked
    exposure  from a ranking to hints with exact propensities
    config    what can be turned

Pure: tables in, tables out. May import context and the canonical bytes of `storage`; knows neither
a store nor Valkey (`serving.indexes`), nor who serves.
"""
