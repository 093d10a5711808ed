"""The stages of a day, and those of the bootstrap that have no daily twin; one module each.

    day   the one table of the day: names and order
    gate  its verdict too: what of the day's results it lets serve

A module holds what its stage reads, the slice of the settings that it may see, `compute`, and the
stage. It is handed all that it reads: it imports no settings, no store, no service and no
environment. May import serving, pipeline, and what lies below them.
"""
