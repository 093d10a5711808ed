import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.context.queries import blocklist, is_allowed, normalize


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Milk", "milk"),
        ("  whole   MILK\t", "whole milk"),
        ("M&M's", "m m s"),
        ("2% milk", "2 milk"),
        ("dark-rye_bread", "dark rye bread"),
        ("crème brûlée", "cr me br l e"),
        ("<sep>milk<hints>", "sep milk hints"),
        ("???", ""),
        ("", ""),
    ],
)
def test_normalize(text: str, normal: str) -> None:
    assert normalize(text) == normal


@given(st.text())
def test_normal_form_is_words_of_letters_and_digits_and_stays(text: str) -> None:
    normal = normalize(text)
    assert re.fullmatch(r"([a-z0-9]+( [a-z0-9]+)*)?", normal)
    assert normalize(normal) == normal


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_case_and_surroundings_do_not_matter(text: str) -> None:
    assert normalize(f" !{text.upper()}\n") == normalize(text)


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        ("milk", True),
        ("7up", True),
        ("a", False),  # 2 characters at least
        ("ab", True),
        ("x" * 40, True),
        ("x" * 41, False),
        ("a b c d e f", True),
        ("a b c d e f g", False),  # 6 words at most
        ("", False),
        ("cigarettes", False),  # on the list
        ("menthol cigarettes", False),
        ("lighter fluid", False),  # a pair on the list
        ("charcoal lighter fluid", False),
        ("fluid lighter", True),  # its words alone are not
        ("cigarettesx", True),  # whole words only
    ],
)
def test_is_allowed(query: str, allowed: bool) -> None:
    assert is_allowed(query) is allowed


def test_every_entry_of_the_blocklist_blocks() -> None:
    assert len(blocklist()) > 20
    for entry in blocklist():
        assert entry == normalize(entry)  # else it could never meet a normalised query
        assert len(entry.split()) <= 2  # longer entries are not looked for
        assert not is_allowed(entry)
        assert not is_allowed(f"cheap {entry}")
