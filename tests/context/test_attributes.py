import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.context.attributes import attribute_parts, join_attributes


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["65+", "35-49k", "2 adults no kids"], "65+; 35-49k; 2 adults no kids"),
        (["65+", "", "2 adults"], "65+; 2 adults"),
        (["", ""], ""),
        ([], ""),
    ],
)
def test_empty_parts_are_left_out(parts: list[str], text: str) -> None:
    assert join_attributes(parts) == text
    assert attribute_parts(text) == [part for part in parts if part]


@given(st.lists(st.text(st.characters(exclude_characters=";"), min_size=1)))
def test_what_is_joined_can_be_taken_apart(parts: list[str]) -> None:
    assert attribute_parts(join_attributes(parts)) == parts
