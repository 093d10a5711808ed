"""Where the teacher is and how hard it is pressed."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class EndpointConfig(BaseModel):
    """An OpenAI-compatible server, or none: then the built-in stand-in answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field("", description="base URL up to /v1; empty = the built-in stand-in answers")
    model: str = ""
    key: SecretStr = Field(SecretStr("none"), description="API key, from the environment only")
    concurrency: int = Field(8, ge=1, description="questions under way at once")
    timeout: float = Field(120.0, description="seconds that one answer may take")
    retries: int = Field(4, description="tries again after 408, 409, 429, 5xx or no connection")
    seed: int = 17
    max_tokens: int = Field(1024, description="of one answer")
    price_in: float = Field(0.0, description="currency units per million prompt tokens")
    price_out: float = Field(0.0, description="currency units per million answer tokens")

    def identity(self) -> dict[str, Any]:
        """All of it that changes the answers, or what they are said to cost."""
        named = {"model", "seed", "max_tokens", "price_in", "price_out"}
        return self.model_dump(include=named) | {"stand_in": not self.url}
