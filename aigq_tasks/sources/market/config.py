"""What can be turned in the replayed market."""

from pydantic import BaseModel, ConfigDict, Field

LOOKAHEAD_DAYS = 2  # how long before a visit its home-page requests may come


class MarketConfig(BaseModel):
    """The replayed market (docs/market.md). Shares and probabilities are per visit unless said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    households: int = Field(0, ge=0, description="first N households by hash; 0 = all of them")
    requests_mean: float = Field(7.5, gt=1, description="home-page requests before a visit, mean")
    cold_share: float = Field(
        0.06, ge=0, le=1, description="households whose id changes every week"
    )
