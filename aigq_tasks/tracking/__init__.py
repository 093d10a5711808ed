"""MLflow: what people look at, derived from manifests and the ledger; nothing is decided by it.

    runs      one run per manifest, and one series run that draws each metric over the days
    registry  versions of the models, tags, aliases
    rest      plain REST, for what need not load MLflow's client

May import storage.
"""
