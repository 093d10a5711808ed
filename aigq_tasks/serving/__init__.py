"""A release put together: what it ranks, what its policies write, where Valkey holds its lists.

    histories  what is known of users when a day begins, out of what a stage was given
    lists      from a stored policy to queries that may be shown
    stack      recall sources and click model of a release, ranking for requests
    moments    what is known at the second of a request
    memo       what need not be worked out twice in a day
    requests   what answers the requests of a day
    indexes    u2q and x2q in Valkey, by version

May import pipeline, policy, recall, samples, evaluation, context, logs.
"""
