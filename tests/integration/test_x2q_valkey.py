"""x2q in a real Valkey."""

import pandas as pd
import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.serving import indexes

pytestmark = pytest.mark.integration
ENTRIES = pd.DataFrame(
    [("milk", 1, "oat milk", 0.9), ("milk", 2, "butter", 0.5), ("rye: bread", 1, "jam", 0.5)],
    columns=["trigger", "rank", "query", "score"],
)


def test_triggers_are_looked_up_together(valkey_url: str) -> None:
    with indexes.connect(valkey_url) as client:
        with pytest.raises(AigqError, match="x2q test-1 is not loaded"):
            indexes.lookup_x2q(client, "test-1", ["milk"])
        assert indexes.load_x2q(client, "test-1", ENTRIES) == 2
        assert indexes.load_x2q(client, "test-1", ENTRIES) == 0
        assert indexes.lookup_x2q(client, "test-1", ["milk", "tea", "rye: bread"]) == {
            "milk": [("oat milk", 0.9), ("butter", 0.5)],
            "tea": [],
            "rye: bread": [("jam", 0.5)],
        }
        assert indexes.lookup_x2q(client, "test-1", []) == {}
