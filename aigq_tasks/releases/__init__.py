"""Releases: what the results of a day become, and what is done with them afterwards.

    publish    the one step that makes a day visible, and the release that a day makes
    live       making a release the one that is served
    plan       what a range of days would run, and why
    landing    a day of the log, refused when too much of it is bad
    bootstrap  day zero, step by step
    approval   what a person is asked, and what a rejection leaves
    rollback   serving again what an earlier release served
    promote    answering who moved `champion` in MLflow
    aliases    MLflow's verdicts and aliases, which follow the ledger
    gc         removing what no kept release needs

May import stages, serving, pipeline, tracking, storage and what lies below them; never reports,
cli or services. Who does something and why are arguments of what appends to the ledger.
"""
