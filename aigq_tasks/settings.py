"""All settings in one place: defaults here, then `aigq.toml` (or `$AIGQ_CONFIG`), then the
environment (`AIGQ_` prefix, `__` between levels: `AIGQ_S3__PORT=8333`). Secrets come from the
environment only, or from the file `<state_dir>/secrets.env` that `aigq up` makes on first start.

What a state was made with may lie beside it, as `<state_dir>/settings.toml`; it comes right after
the defaults. `aigq demo` puts its smaller market there, so whoever asks about that state later,
command or task, asks with the same settings.
"""

import os
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.config import GateLimits
from aigq_tasks.policy.config import LISTS_AT_ONCE, GrpoConfig, SftConfig
from aigq_tasks.recall.config import (
    Candidates,
    ClusterConfig,
    EbrConfig,
    Exposure,
    X2qConfig,
)
from aigq_tasks.samples.engine import EngineName
from aigq_tasks.sources.base import Source
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.source import IntentSource
from aigq_tasks.sources.market.source import MarketSource
from aigq_tasks.teacher.config import EndpointConfig
from ctr_model.config import TrainConfig

HISTORY_DAYS = 120
DEFAULT_CONFIG = Path("aigq.toml")
INTENT_FIELDS = set(IntentConfig.model_fields)
OF_STATE = "settings.toml"  # in the state folder
# Variables of ours that are no settings: where the settings are, who publishes and why, the mark
# of supervised processes, how log lines look, where a test kills a process.
NO_SETTINGS = {
    "AIGQ_CONFIG",
    "AIGQ_WHO",
    "AIGQ_WHY",
    "AIGQ_SUPERVISED",
    "AIGQ_LOG_FORMAT",
    "AIGQ_CRASH_AT",
}


class Section(BaseModel):
    """A frozen group of settings; an unknown key is an error, so a typo cannot pass silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class S3Settings(Section):
    host: str = "127.0.0.1"
    port: int = 8333
    bucket: str = "aigq"
    endpoint: str | None = Field(None, description="set for an S3 that `aigq up` does not run")
    access_key: str = "aigq"
    secret_key: SecretStr = SecretStr("")

    @property
    def url(self) -> str:
        return self.endpoint or f"http://{self.host}:{self.port}"


class ValkeySettings(Section):
    host: str = "127.0.0.1"
    port: int = 6399
    ttl_days: int = Field(7, description="days that u2q and x2q of an old release stay readable")

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"


class MlflowSettings(Section):
    host: str = "127.0.0.1"
    port: int = 5500
    experiment: str = "hintq"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


class AirflowSettings(Section):
    host: str = "127.0.0.1"
    port: int = 8080

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


class WebhookSettings(Section):
    """Where MLflow tells that an alias moved, see `services.webhook`."""

    host: str = "127.0.0.1"
    port: int = 5510
    secret: SecretStr = SecretStr("")

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


class LogSettings(Section):
    """When a day with bad rows fails: more than both of these in one table."""

    max_bad_share: float = Field(0.05, ge=0, le=1, description="of the rows of a table of a day")
    few_bad: int = Field(20, ge=0, description="so many bad rows of a table are never too many")


class CtrSettings(Section):
    window_days: int = Field(14, ge=1, description="days of impressions that it is trained on")
    train: TrainConfig = TrainConfig()
    own_brand: tuple[str, ...] = Field(
        ("store brand",), description="phrases by which the shop's own brand is named in a query"
    )
    auc_floor: float = Field(0.60, description="gate: progressive AUC below this is not sane")
    ece_ceiling: float = Field(0.04, description="gate: calibration error above this is not sane")


class RecallSettings(Section):
    candidates: Candidates = Candidates()
    clusters: ClusterConfig = ClusterConfig()
    ebr: EbrConfig = EbrConfig()


class SampleSettings(Section):
    labels: int = Field(20, description="queries in a label list (Eq 3)")
    history_lines: int = Field(36, description="aggregated history lines in a prompt")
    holdout: float = Field(0.5, description="share of a day's users kept for that day's gate")
    bootstrap_days: int = Field(7, description="days of sessions that IL-SFT sees")
    bootstrap_samples: int = Field(2000, description="sessions that IL-SFT sees, the latest")


class PolicySettings(Section):
    backbone: str = Field("tiny", description="tiny | smollm2-135m | a Hugging Face path")
    seed: int = 17
    sft: SftConfig = SftConfig()
    grpo: GrpoConfig = GrpoConfig()


class ThinkSettings(Section):
    """AIGQ-Think: its samples, its training, what it may write."""

    labels: int = Field(30, description="queries in a label list (Eq 4)")
    generated: int = Field(8, description="candidates that the teacher proposes per session")
    bootstrap_days: int = Field(4, description="days of sessions that IL-SFT sees, the latest")
    bootstrap_samples: int = Field(1200, description="sessions that IL-SFT sees, the latest")
    sft: SftConfig = SftConfig()
    update_days: int = Field(5, ge=1, description="days from one IL-GRPO update to the next")
    grpo: GrpoConfig = GrpoConfig(steps=6, learning_rate=3e-5, list_length=6, max_new_tokens=256)
    limits: ThinkLimits = ThinkLimits()


class ItemTextSettings(Section):
    """The model that writes what shoppers call an item."""

    backbone: str = Field("tiny", description="tiny | smollm2-135m | a Hugging Face path")
    samples: int = Field(12_000, description="clicks on search results that it learns from")
    sft: SftConfig = SftConfig(epochs=1.5, batch_size=32, learning_rate=3e-3)


class GenerationSettings(Section):
    list_length: int = Field(30, description="queries per user in u2q and in the evaluation")
    batch_size: int = LISTS_AT_ONCE


class ServableSettings(Section):
    """Bounds of the verdict on whether a release can be served, see `stages.servable`."""

    canaries: int = Field(16, ge=1, description="users that a release is tried on")
    reasoned: int = Field(4, ge=1, description="of them, those that AIGQ-Think reasons for")
    max_seconds: float = Field(1.0, description="median CPU time to rank one of them")


class ApprovalSettings(Section):
    """Whether a person is asked before a challenger goes live. Dags read the variables of these
    two (`dags/_stage.py`); `aigq up` sets them."""

    required: bool = False
    hours: float = Field(12, gt=0, description="to answer in; no answer is a rejection")


class AlertSettings(Section):
    """Where alerts go: a webhook, a mailbox, both or neither. What opens a door comes from the
    environment (AIGQ_ALERTS__WEBHOOK, ...)."""

    webhook: SecretStr = Field(SecretStr(""), description="URL that takes JSON; it may hold a key")
    webhook_token: SecretStr = Field(SecretStr(""), description="sent as a bearer token")
    smtp_host: str = Field("", description="mail server; empty: no mail")
    smtp_port: int = 587
    smtp_tls: bool = Field(True, description="STARTTLS before anything is said")
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    mail_from: str = "aigq@localhost"
    mail_to: tuple[str, ...] = ()
    deadline_hours: float = Field(
        6,
        ge=0,
        description="a run that takes so much longer than the last ten is told of; 0: none (Dags)",
    )


class Settings(BaseSettings):
    """Everything that can be turned. `load_settings()` is the way to get one."""

    model_config = SettingsConfigDict(
        env_prefix="AIGQ_",
        env_nested_delimiter="__",
        # A section whose default is not its class's own keeps it where one field is set.
        nested_model_default_partial_update=True,
        extra="forbid",
        frozen=True,
    )

    state_dir: Path = Path(".state")
    seed: int = 17
    threads: int = Field(2, ge=1, description="torch threads; a fixed number keeps bytes equal")
    history_days: int = Field(
        HISTORY_DAYS, ge=1, description="days of log every stage may look back on"
    )
    engine: EngineName = Field("duckdb", description="duckdb | spark: what builds the tables")
    bootstrap_day: date = date(2017, 11, 5)
    launch_days: int = Field(14, description="days of hint log before the first full release")
    s3: S3Settings = S3Settings()
    valkey: ValkeySettings = ValkeySettings()
    mlflow: MlflowSettings = MlflowSettings()
    airflow: AirflowSettings = AirflowSettings()
    webhook: WebhookSettings = WebhookSettings()
    market: MarketConfig = MarketConfig()
    logs: LogSettings = LogSettings()
    exposure: Exposure = Exposure()
    ctr: CtrSettings = CtrSettings()
    recall: RecallSettings = RecallSettings()
    samples: SampleSettings = SampleSettings()
    policy: PolicySettings = PolicySettings()
    think: ThinkSettings = ThinkSettings()
    item_text: ItemTextSettings = ItemTextSettings()
    teacher: EndpointConfig = EndpointConfig()
    x2q: X2qConfig = X2qConfig()
    generation: GenerationSettings = GenerationSettings()
    gate: GateLimits = GateLimits()
    servable: ServableSettings = ServableSettings()
    approval: ApprovalSettings = ApprovalSettings()
    alerts: AlertSettings = AlertSettings()

    def source(self) -> Source:
        """Where the days of log come from: one of the two replayed markets."""
        market = self.market
        if market.intent == "none":
            return MarketSource(market, self.seed)
        return IntentSource(IntentConfig(**market.model_dump(include=INTENT_FIELDS)), self.seed)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        state = _state_dir(toml())
        secrets = DotEnvSettingsSource(settings_cls, env_file=state / "secrets.env")
        of_state = TomlConfigSettingsSource(settings_cls, toml_file=state / OF_STATE)
        return init_settings, env_settings, _Only(settings_cls, secrets), toml, of_state


class _Only(PydanticBaseSettingsSource):
    """Of the secrets file take what a setting names; other programs' secrets share the file."""

    def __init__(self, settings_cls: type[BaseSettings], inner: DotEnvSettingsSource) -> None:
        super().__init__(settings_cls)
        self.inner = inner

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self.inner.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        return {key: value for key, value in self.inner().items() if key in fields}


def config_file() -> Path:
    """The TOML file in force: `$AIGQ_CONFIG`, else `aigq.toml` here (which may be absent)."""
    return Path(os.environ.get("AIGQ_CONFIG", DEFAULT_CONFIG))


def _state_dir(toml: dict[str, Any]) -> Path:
    return Path(str(os.environ.get("AIGQ_STATE_DIR", toml.get("state_dir", ".state"))))


def load_settings() -> Settings:
    """Read the settings; AigqError names the wrong key and where it may be set."""
    _check_variables()
    if "AIGQ_CONFIG" in os.environ and not config_file().is_file():
        raise AigqError(f"AIGQ_CONFIG names {config_file()}, which is not a file")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AigqError(
            f"setting '{where}': {first['msg']} (set in {config_file()} or "
            f"AIGQ_{where.replace('.', '__').upper()})"
        ) from None
    except ValueError as error:  # tomllib.TOMLDecodeError is one
        raise AigqError(f"{config_file()} cannot be read: {error}") from None


def _check_variables() -> None:
    """AigqError for a variable that looks like a setting and is none: a typo must not pass."""
    known = NO_SETTINGS | {f"AIGQ_{name.upper()}" for name in Settings.model_fields}
    for variable in sorted(os.environ):
        head = variable.split("__")[0]
        if head.startswith("AIGQ_") and not head.startswith("AIGQ_TEST_") and head not in known:
            near = get_close_matches(head, known, n=1)
            hint = f": did you mean {near[0]}?" if near else "; see aigq_tasks/settings.py"
            raise AigqError(f"the variable {variable} names no setting{hint}")
