"""AIGQ day by day: from the log of a day to the release of the query writer that serves the next.

    cli         the command `aigq`, a stage a command; what is printed
    services    the servers, Airflow's API, MLflow's webhook, alerts
    research    studies and trainings that people start by hand
    reports     what people look at, as rows
    releases    what the results of a day become: published, planned, promoted, gone back from
    stages      the stages of a day, and the one table of them (`day`)
    serving     a release put together: its stack, its lists, its indexes in Valkey
    pipeline    what a stage is, what it may read, what runs one
    tracking    MLflow
    policy, recall, samples, evaluation, sources   the parts that learn, rank, judge, and the log's
    teacher     the language model that is asked
    context, logs, storage   texts, the log contract, the object store with its two records

Each may import what stands below it (contracts in pyproject.toml hold it); settings stand under
`tracking`, messages and errors under all. Importing the package loads nothing.
"""
