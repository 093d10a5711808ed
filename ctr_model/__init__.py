"""The click model: p̂(click | user, query; φ_D) of Eq 14.

Features are a batch snapshot of the logs at the start of a day and the visit until the request, the
learner is LightGBM, the probabilities are calibrated, and the whole model is two text files.  The
package knows nothing of language models, of Airflow or of object storage, and imports nothing from
`aigq_tasks`.

    history     the logs in integer columns
    snapshot    what is counted at one instant
    features    (user, query, position) -> float32 row
    visit       what a request adds to it: the last day, to the second
    config      TrainConfig, every setting of training
    train       one day's model
    calibration Platt scaling
    model       CtrModel: predict, save, load; `score` for ranking
    validate    AUC, log loss, ECE, slices, sanity

Queries and contents are expected normalised (lower case, a-z0-9, single spaces): the package
compares text, it does not clean it.

LightGBM is known to hang in a process forked after it was loaded.  It is imported inside the
functions that use it; run each of them in a fresh process (exec), never in a forked worker.
"""
