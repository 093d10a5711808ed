"""What can be turned in the replayed market."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LOOKAHEAD_DAYS = 2  # how long before a visit its home-page requests may come


class MarketConfig(BaseModel):
    """The replayed market (docs/market.md). Shares and probabilities are per visit unless said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    households: int = Field(0, ge=0, description="first N households by hash; 0 = all of them")
    requests_mean: float = Field(7.5, gt=1, description="home-page requests before a visit, mean")
    intent: Literal["none", "weak", "default", "strong", "one_string"] = Field(
        "none",
        description="none: the first market, in which nothing can be known of a visit. Others: "
        "shoppers with intent (docs/market-intent.md), by how long the tail of wordings is",
    )
    cold_share: float = Field(
        0.06, ge=0, le=1, description="households whose id changes every week"
    )
