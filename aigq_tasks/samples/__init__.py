"""Training samples of the policies, out of the log (paper 3.3).

    sessions  stage 1: what belongs together
    labels    stage 2: candidates by reliability, re-ranked
    direct    samples of AIGQ-Direct
    think     samples of AIGQ-Think
    holdout   which users a day keeps for its gate
    engine    what runs the Ibis expressions: DuckDB or Spark

May import teacher, context, logs. Tables in, tables out: neither a store nor settings.
"""
