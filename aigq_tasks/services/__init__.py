"""The real servers behind AIGQ on one machine, and what is told to people and to Airflow.

    supervisor   start the servers, watch them, take them down
    environment  their variables, of the settings; secrets of their own
    health       whether each of them answers
    ports, processes, secrets  what the supervisor stands on
    airflow_api  Airflow's REST API: runs, backfills, notes
    webhook      the receiver of MLflow's webhook
    alerts       telling people, by webhook or mail
    proposals    telling them that what serves lies below an anchor, and how to go back
    demo         all of it, from nothing to released days

May import reports, research, releases and what lies below them; never cli.
"""
