"""What can be turned in the market where intent exists."""

from pydantic import BaseModel, ConfigDict, Field

from aigq_tasks.sources.market.intent.rules import IntentName


class IntentConfig(BaseModel):
    """The market with intent (docs/market-intent.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    households: int = Field(0, ge=0, description="first N households by hash; 0 = all of them")
    cold_share: float = Field(
        0.06, ge=0, le=1, description="households whose id changes every week"
    )
    intent: IntentName = Field(
        "default",
        description="weak | default | strong: how long the tail of wordings is; one_string: each "
        "need has one wording (a control)",
    )
