"""Where days of log come from. The stage `logs` asks a source for a day and checks what it lands.

    base  the protocol: Source, and what serves while it lands (Serve, Served), Needs

Each folder beside it is one source.

A source may import `logs`, `context` and canonical JSON; neither settings nor a store nor another
source. Only the settings and the command line name a source: everybody else is handed one.
"""
