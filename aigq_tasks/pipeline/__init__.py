"""What a stage is, and what runs one.

A stage declares what it reads and which settings it may see; the runner resolves that once, takes
its digests, and hands it over as a `Given`. So a result is a function of what its manifest names.

    stage     Stage, Slice, Output
    reads     what a stage may declare to read
    lines     the line of releases behind a policy, and what stages read of it
    calendar  days and windows of days, by the settings
    given     Given and Stored: what `compute` is handed
    context   Context: settings and stores, for whoever stands at the edge
    reading   stored results by a Context: for the edge, never for a stage
    preflight whether the services answer that a command needs
    runner    run_stage, and why a stage would run

May import tracking, settings, sources, teacher, storage, logs. Knows no stage.
"""
