"""The one config class of the click model; nothing heavy is imported with it."""

from pydantic import BaseModel, ConfigDict, Field


class TrainConfig(BaseModel):
    """Everything beside the data and the seed that changes the model's bytes.

    One number of threads gives the same bytes every time; another number may not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_threads: int = Field(2, ge=1)
    learning_rate: float = Field(0.05, gt=0)
    max_trees: int = Field(300, ge=1)
    early_stopping_rounds: int = Field(30, ge=1)
    num_leaves: int = Field(7, ge=2)
    min_rows_per_leaf: int = Field(100, ge=1)
    l2: float = Field(10.0, ge=0)
    feature_fraction: float = Field(0.5, gt=0, le=1)
    folds: int = Field(
        3,
        ge=2,
        description="runs of days that are predicted by trees of the others, which sets how many "
        "trees there are and the calibration",
    )
