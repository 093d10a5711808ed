"""What lasts: objects in S3 that are created once, and the two records kept among them.

    objects    blobs by their SHA-256, names that are written once
    manifests  what was made of what, by stage and day
    ledger     the releases, and the shelf of those that never went live
    records    what is read by name is checked too
    tables     tables to Parquet bytes and back
    canonical  JSON with one byte string per value
    crash      the points at which a test may kill a process

Nothing is overwritten: two writers of one name are settled by S3 itself. Knows no stage, no
settings and no log; of `aigq_tasks` it imports `errors` alone.
"""
