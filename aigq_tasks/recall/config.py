"""What can be turned in recall: exposure, the two-tower model, x2q. Nothing heavy is imported."""

from pydantic import BaseModel, ConfigDict, Field

SLOTS = 3  # hints of a page


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Exposure(_Config):
    """How a ranking becomes three hints: two exploit, one explores."""

    top_n: int = Field(
        12, ge=SLOTS, description="ranks that the exploit slots draw from: no slot is left without"
    )
    temperature: float = Field(
        0.08, gt=0, description="of their softmax over rank scores, in units of those"
    )


class Candidates(_Config):
    """What the stack asks of its sources, and what it leaves of it."""

    per_source: int = Field(6, ge=1, description="candidates a recall source may propose")
    quotas: tuple[tuple[str, int], ...] = Field(
        (("own_history", 12), ("u2q", 12)), description="of single sources, by name, where another"
    )
    diversity: float = Field(
        0.02,
        ge=0,
        description="how much of its score a query loses that means the same as one above it, in "
        "units of click probability",
    )
    same_cosine: float = Field(
        0.6, gt=0, le=1, description="cosine from which two queries are near-duplicates"
    )
    same_words: float = Field(
        0.75, gt=0, le=1, description="share of common words from which they are"
    )

    def of(self, source: str) -> int:
        """How many candidates the source may propose."""
        return dict(self.quotas).get(source, self.per_source)


class ClusterConfig(_Config):
    """Which texts are embedded, and into how many clusters they fall."""

    texts: int = Field(20_000, ge=2, description="most frequent contents whose vectors are stored")
    clusters: int = Field(300, ge=1)


class EbrConfig(_Config):
    """Sizes and schedule of the two towers. The defaults allow at most 1 M parameters."""

    dim: int = 64
    hidden: int = 64
    max_contents: int = 6500
    max_queries: int = 6500
    max_tokens: int = 2000
    max_events: int = Field(96, description="most recent behaviours that make a user state")
    epochs: int = Field(6, description="passes of the first training")
    learning_rate: float = 0.004
    update_days: int = Field(
        28,
        description="days of searches that a continued training sees, so each one again on "
        "so many days: hence its small steps",
    )
    update_epochs: int = 1
    update_learning_rate: float = 0.0003
    states_per_batch: int = 256
    weight_decay: float = 0.3


class IndexConfig(_Config):
    """Weights of Eq 19, and how much of what is tied goes into the index."""

    gamma: float = Field(0.7, ge=0, le=1, description="γ: weight of relevance against effect")
    depth: int = Field(30, ge=1, description="queries kept per trigger")
    prior: float = Field(2.0, ge=0, description="users that a tie is shrunk by; views likewise")


class X2qConfig(IndexConfig):
    """And how long a tie counts."""

    days: int = Field(7, ge=1, description="days that what was reasoned for a user counts")
