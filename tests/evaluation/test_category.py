import json
import random

import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation import category
from aigq_tasks.evaluation.category import CategoryClassifier, train

SHELVES = {
    "CHEESE": ["cheddar cheese", "brie cheese", "cream cheese", "string cheese", "goat cheese"],
    "TEAS": ["green tea", "black tea bags", "herbal tea", "iced tea", "chamomile tea"],
    "PASTA": ["spaghetti noodles", "penne pasta", "egg noodles", "lasagna noodles", "elbow pasta"],
    "PAPER": ["toilet paper", "paper towels", "kitchen towels", "bath tissue", "facial tissue"],
}
PAIRS = [(text, shelf) for shelf, texts in SHELVES.items() for text in texts]


@pytest.fixture(scope="module")
def classifier() -> CategoryClassifier:
    return train(PAIRS)


def test_training_texts_have_their_category(classifier: CategoryClassifier) -> None:
    texts, shelves = zip(*PAIRS, strict=True)
    assert classifier.classify(texts) == list(shelves)


def test_unseen_texts_go_by_their_words_and_letters(classifier: CategoryClassifier) -> None:
    unseen = ["swiss cheese", "oolong tea", "rigatoni pasta", "tissues", "CHEESES!"]
    assert classifier.classify(unseen) == ["CHEESE", "TEAS", "PASTA", "PAPER", "CHEESE"]


def test_a_text_without_any_known_ngram_is_unknown(classifier: CategoryClassifier) -> None:
    assert classifier.classify(["", "??", "xqzj vvwx"]) == ["", "", ""]


def test_exact_phrases_go_before_the_model() -> None:
    # The model would say CHEESE; the log says that shoppers mean the crackers.
    assert train(PAIRS).classify(["cheese wafers"]) == ["CHEESE"]
    pairs = [*PAIRS, ("Cheese Wafers", "CRACKERS"), ("rye crackers", "CRACKERS")]
    assert train(pairs).classify(["cheese wafers"]) == ["CRACKERS"]


def test_a_text_of_two_categories_has_the_more_frequent_one() -> None:
    pairs = [*PAIRS, *[("gift box", "TEAS")] * 2, *[("gift box", "CHEESE")] * 3]
    assert train(pairs).classify(["gift box"]) == ["CHEESE"]
    even = [*PAIRS, ("gift box", "TEAS"), ("gift box", "CHEESE")]
    assert train(even).classify(["gift box"]) == ["CHEESE"]  # the first by name


def test_files_and_version_do_not_depend_on_the_order_of_the_pairs(
    classifier: CategoryClassifier,
) -> None:
    shuffled = random.Random(3).sample(PAIRS, len(PAIRS))
    again = train(shuffled)
    assert again.to_files() == classifier.to_files()
    assert again.version == classifier.version


def test_version_changes_with_the_training_data(classifier: CategoryClassifier) -> None:
    assert train([*PAIRS, ("matcha", "TEAS")]).version != classifier.version


def test_round_trip_is_exact(classifier: CategoryClassifier) -> None:
    files = classifier.to_files()
    assert sorted(files) == ["category.json", "category.safetensors"]
    assert json.loads(files["category.json"])["categories"] == sorted(SHELVES)
    loaded = CategoryClassifier.from_files(files)
    assert loaded.to_files() == files
    assert loaded.version == classifier.version
    unseen = ["swiss cheese", "oolong tea", "rigatoni", "paper plates", "zzz", "noodle soup"]
    assert loaded.classify(unseen) == train(PAIRS).classify(unseen)


def test_a_text_has_one_answer_whatever_it_is_asked_with(classifier: CategoryClassifier) -> None:
    fresh = CategoryClassifier.from_files(classifier.to_files())
    texts = ["swiss cheese", "oolong tea", "rigatoni", "paper plates"]
    one_by_one = [fresh.classify([text])[0] for text in texts]
    assert CategoryClassifier.from_files(classifier.to_files()).classify(texts) == one_by_one


def test_answers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = train(PAIRS)
    first = fresh.classify(["swiss cheese"])

    def no_more(texts: object) -> list[str]:
        raise AssertionError(f"predicted again: {texts}")

    monkeypatch.setattr(fresh, "_predict", no_more)
    assert fresh.classify(["Swiss cheese", "brie cheese"]) == [*first, "CHEESE"]


def test_no_category_is_crowded_out_of_the_training_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(category, "MAX_TEXTS", 8)
    crowd = [(f"tea blend number {i}", "TEAS") for i in range(50)]
    few = train([*PAIRS, *crowd])
    # Two texts of each of four categories were left, and they are enough for the unseen cheese.
    assert few.categories == tuple(sorted(SHELVES))
    assert few.classify(["cheese"]) == ["CHEESE"]


def test_too_few_categories() -> None:
    with pytest.raises(AigqError, match="2 leaf categories"):
        train([("green tea", "TEAS"), ("brie", "CHEESE"), ("", "PAPER"), ("x1", "")])
