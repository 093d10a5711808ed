"""Read by Airflow at its start. On SQLite alone: let writers wait for each other.

SQLAlchemy's `begin_nested` opens a SAVEPOINT, and a SAVEPOINT outside a transaction opens a
*deferred* one: it reads first, and its first write fails at once with "database is locked" when
another process wrote in between. `POST /api/v2/backfills` does just that, and Airflow 3.3.2 then
deletes the runs it was about to repeat (airflow#66726, #68699). Taking the write lock before the
SAVEPOINT makes it wait instead.
"""

import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

__all__: list[str] = []  # a public name here would override one of Airflow's own
WAIT_MILLISECONDS = 30_000


@event.listens_for(Engine, "connect")
def _patient(connection: Any, record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA busy_timeout={WAIT_MILLISECONDS}")
        connection.execute("PRAGMA synchronous=NORMAL")  # safe with WAL; no fsync at each commit


@event.listens_for(Engine, "savepoint")
def _lock_before_savepoint(connection: Connection, name: str) -> None:
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection) and not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
