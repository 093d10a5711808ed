"""The log contract: what a day of log holds, whoever it comes from.

    schema      tables, columns, types, rules of a row
    validation  good rows and quarantine, with reasons
    behaviours  the history that everything reads, made of the tables

Imports `context` alone. It knows no source, no store and no stage.
"""
