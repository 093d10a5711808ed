from aigq_tasks.context.item_text import facets_digest, render_item


def test_a_prompt_holds_all_parts() -> None:
    prompt = render_item("name brand; SOFT DRINKS; 12/18&15PK CAN; 12 PK")
    assert prompt == "<item>name brand<sep>soft drinks<sep>12 18 15pk can<sep>12 pk<text>"


def test_a_part_of_which_nothing_is_left_is_left_out() -> None:
    assert render_item("store brand; TEA; --") == "<item>store brand<sep>tea<text>"
    assert render_item("") == "<item><text>"


def test_equal_facets_have_equal_digests() -> None:
    tea, coffee = render_item("a; TEA"), render_item("a; COFFEE")
    assert facets_digest(tea) == facets_digest(render_item("A; tea"))
    assert facets_digest(tea) != facets_digest(coffee)
    assert len(facets_digest(tea)) == 64
