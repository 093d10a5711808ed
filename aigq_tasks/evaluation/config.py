"""What can be turned in the gate."""

from pydantic import BaseModel, ConfigDict, Field


class AlarmLimits(BaseModel):
    """Bounds of the alarms of reward hacking: shares, and differences of means between challenger
    and champion. The last three count only while the predicted clicks rise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    off_catalogue: float = Field(
        0.25, description="share of queries that no log has held, more than the champion's"
    )
    copied: float = Field(
        0.3, description="share of queries out of the user's own history, more than the champion's"
    )
    length: float = Field(0.5, description="least share of the champion's mean length")
    hit: float = Field(0.03, description="fall of Query HR@30")
    valid: float = Field(0.03, description="fall of the share of valid lists")
    diversity: float = Field(0.85, description="least share of the champion's unique categories")


class AnchorLimits(BaseModel):
    """The test against fixed anchors, over the last seven days together (`evaluation.anchors`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: float = Field(
        0.025, gt=0, lt=0.5, description="of all anchors: chance to find an equal policy below one"
    )
    margin: float = Field(0.0, ge=0, description="loss of HR@30 against an anchor that is allowed")


class VarietyLimits(BaseModel):
    """Floors on how varied the first ten queries are; the anchor is IL-SFT of the bootstrap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_distinct: int = Field(30, description="different queries in the first ten of all users")
    min_distinct_share: float = Field(0.5, description="the same as a share of the anchor's")
    max_near_duplicates: float = Field(
        0.7, description="share of a list's first ten that repeat one above in other words"
    )
    max_near_duplicate_rise: float = Field(0.15, description="the same, more than the anchor's")


class GateLimits(BaseModel):
    """Bounds of the verdict on a challenger. Shares are absolute: 0.01 is one point of Query HR."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(0.0, description="how far below 0 the CI of the HR difference may lie")
    max_drop: float = Field(
        0.06, description="reject when mean HR@30 falls by more than this, however wide the CI"
    )
    min_valid_rate: float = Field(0.95, description="floor of the share of valid lists")
    min_diversity: float = Field(0.8, description="share of the champion's unique categories")
    min_user_days: int = Field(30, description="fewer prove nothing in either direction")
    min_effective: float = Field(
        200.0, description="off-policy: hints that the log must be worth for an estimate"
    )
    max_click_loss: float = Field(
        0.05, description="off-policy: share of production's clicks that must not be lost"
    )
    alarms: AlarmLimits = AlarmLimits()
    anchors: AnchorLimits = AnchorLimits()
    variety: VarietyLimits = VarietyLimits()
    resamples: int = Field(2000, ge=100, description="bootstrap resamples behind each interval")
