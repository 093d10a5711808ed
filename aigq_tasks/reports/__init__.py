"""What people look at, as rows of text: the command line prints them, a page or an API may.

    days      the table of released days
    trend     the champion of each of them beside its anchors
    arms      the arms over all of them, and both as one report
    ledger    the ledger and its shelf, one release
    difference  what differs between two releases
    plan      what a backfill would run, by day or by stage
    hints     what a release shows a user, and what a trigger leads to
    verdicts  the verdicts of a day in words
    baselines the days before the loop: their log, and how far the classic sources get

Nothing here prints, decides or stores. May import releases, stages, serving, pipeline, evaluation
and what lies below them; never research, services or cli. A row is column -> text, and all rows of
a table have the same columns.
"""
