"""What holds for every layout: ListLayout (AIGQ-Direct) and ThinkLayout (AIGQ-Think) alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, groupby, zip_longest
from random import Random
from typing import Any

import pytest
import torch  # noqa: TID253
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq_tasks.context.interests import Interest, ThinkLimits, render_interests
from aigq_tasks.context.prompt import render_target
from aigq_tasks.context.queries import MAX_QUERY_TOKENS, normalize
from aigq_tasks.context.tokens import (
    INTEREST,
    QUERIES,
    SEP,
    WHY,
    add_special_tokens,
    behavior_token,
    think_tokens,
)
from aigq_tasks.policy.config import PolicySample
from aigq_tasks.policy.parse import STRUCTURE, Rollout, Slots
from aigq_tasks.policy.rollouts import Layout, ListLayout, ThinkLayout

WORDS = ["milk", "bread", "eggs", "beer", "tea", "whole", "rye", "dark", "free", "range"]
LINES, LENGTH = 3, 3
LIMITS = ThinkLimits(interests=2, triggers=2, queries=2, rationale_tokens=2, query_tokens=2)

phrases = st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(" ".join)


def _apart(queries: list[str]) -> bool:
    """Whether no query begins with an earlier one: served lists never hold such a query."""
    pairs = combinations([query.split() for query in queries], 2)
    return all(later[: len(earlier)] != earlier for earlier, later in pairs)


lists = (
    st.lists(phrases, min_size=1, max_size=LENGTH)
    .filter(_apart)
    .map(lambda queries: PolicySample("u", "", queries))
)
interests = (
    st.lists(
        st.builds(
            Interest,
            phrases,
            st.lists(st.integers(1, LINES), min_size=1, max_size=2, unique=True).map(tuple),
            st.lists(phrases, min_size=1, max_size=2).map(tuple),
        ),
        min_size=1,
        max_size=2,
    )
    .filter(lambda points: _apart([query for point in points for query in point.queries]))
    .map(lambda points: PolicySample("u", "", [], render_interests(points)))
)


@dataclass(frozen=True)
class Case:
    """A layout, samples that keep its bounds, one that does not, and the most tokens that a
    completion under its rules may have."""

    layout: Layout
    tokenizer: Any
    samples: st.SearchStrategy[PolicySample]
    beyond: PolicySample
    most: int

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text)["input_ids"]
        return found

    def written(self, sample: PolicySample) -> list[int]:
        """The completion that writes the sample's target, as IL-SFT teaches it."""
        return self.ids((sample.target or render_target(sample.reference)) + "<eos>")

    def prompt(self, lines: int) -> list[int]:
        history = "".join(f"{behavior_token(i)}<search>tea" for i in range(1, lines + 1))
        return self.ids(f"<profile><history>{history}<hints>")


@pytest.fixture(scope="module", params=["list", "think"])
def case(request: pytest.FixtureRequest, policy: Any) -> Case:
    model, tokenizer = policy()
    add_special_tokens(tokenizer, model, think_tokens(LINES))
    if request.param == "list":
        layout: Layout = ListLayout(model, tokenizer, LENGTH)
        most = LENGTH * (MAX_QUERY_TOKENS + 1)
        return Case(layout, tokenizer, lists, PolicySample("u", "", WORDS), most)
    layout = ThinkLayout(model, tokenizer, LIMITS, LINES, LENGTH)
    many = [Interest("tea", (1, 2, 3), tuple(WORDS[i : i + 3])) for i in (0, 3, 6)]
    beyond = PolicySample("u", "", [], render_interests(many))
    return Case(layout, tokenizer, interests, beyond, LIMITS.max_new_tokens)


def check(case: Case, ids: list[int], rollout: Rollout) -> None:
    """Every token has one segment; a slot's tokens are neighbours and spell what the slot holds."""
    assert len(rollout.segments) == len(ids)
    runs: dict[int, list[int]] = {}
    for slot, run in groupby(zip(rollout.segments, ids, strict=True), key=lambda pair: pair[0]):
        if slot != STRUCTURE:
            assert slot not in runs, "a slot lies in one place"
            runs[slot] = [token for _, token in run]
    queries, triggers = rollout.slots.queries, rollout.slots.triggers
    assert runs.keys() == queries.keys() | triggers.keys()
    in_range(case.layout, rollout.slots)
    for slot, query in queries.items():
        assert normalize(case.tokenizer.decode(runs[slot])) == query != ""
    for slot, lines in triggers.items():
        names = [behavior_token(line) for line in lines]
        assert runs[slot] == case.tokenizer.convert_tokens_to_ids(names)


def in_range(layout: Layout, slots: Slots) -> None:
    first, end = layout.query_slots, layout.query_slots + layout.trigger_slots
    assert all(0 <= slot < first for slot in slots.queries)
    assert all(first <= slot < end for slot in slots.triggers)


@settings(deadline=None)
@given(st.data())
def test_any_ids_parse_and_no_token_is_credited_to_another_slot(
    case: Case, data: st.DataObject
) -> None:
    names = ["<eos>", "<pad>", "<search>", SEP, WHY, INTEREST, QUERIES, *WORDS, "!"]
    names += [behavior_token(i) for i in range(1, LINES + 1)]
    tokens = [*case.tokenizer.convert_tokens_to_ids(names), case.tokenizer.unk_token_id, -2, 9999]
    ids = data.draw(st.lists(st.sampled_from(tokens), max_size=40))
    [rollout] = case.layout.parse([ids])
    check(case, ids, rollout)


@settings(deadline=None)
@given(st.data())
def test_what_is_rendered_is_read_again(case: Case, data: st.DataObject) -> None:
    sample = data.draw(case.samples)
    ids = case.written(sample)
    [rollout] = case.layout.parse([ids])
    assert rollout.valid
    assert rollout.slots == case.layout.reference(sample)
    check(case, ids, rollout)
    # What follows the end is padding, whatever it is.
    padded = [*ids, case.tokenizer.pad_token_id, ids[0]]
    [same] = case.layout.parse([padded])
    assert same == Rollout(rollout.slots, [*rollout.segments, STRUCTURE, STRUCTURE], True)


@settings(deadline=None)
@given(st.data())
def test_a_rollout_that_is_cut_off_keeps_what_is_sure_and_is_malformed(
    case: Case, data: st.DataObject
) -> None:
    ids = case.written(data.draw(case.samples))
    [whole] = case.layout.parse([ids])
    parts = [ids[:n] for n in range(len(ids))]
    for part, rollout in zip(parts, case.layout.parse(parts), strict=True):
        assert not rollout.valid
        check(case, part, rollout)
        assert rollout.slots.queries.items() <= whole.slots.queries.items()
        assert rollout.slots.triggers.items() <= whole.slots.triggers.items()
        assert len(rollout.slots.queries) < len(whole.slots.queries)


def test_what_a_label_has_beyond_the_bounds_has_no_slot(case: Case) -> None:
    slots = case.layout.reference(case.beyond)
    in_range(case.layout, slots)
    assert len(slots.queries) == case.layout.query_slots


@settings(deadline=None)
@given(st.data())
def test_the_rules_never_forbid_a_label(case: Case, data: st.DataObject) -> None:
    rules = case.layout.rules([case.prompt(LINES)])
    for token in case.written(data.draw(case.samples)):
        assert rules.allowed()[0, token]
        rules.observe([token])
    assert rules.allowed().all()  # a rollout that has ended waits for the others of its batch


def draw(case: Case, random: Random, lines: int) -> list[int]:
    """A completion of a prompt of so many history lines, by chance under the rules."""
    rules = case.layout.rules([case.prompt(LINES), case.prompt(lines)])
    rules.keep([1])
    ids: list[int] = []
    while case.tokenizer.eos_token_id not in ids:
        ids.append(random.choice(rules.allowed()[0].nonzero().squeeze(1).tolist()))
        rules.observe([ids[-1]])
    return ids


@settings(deadline=None)
@given(random=st.randoms(use_true_random=False), lines=st.integers(1, LINES))
def test_whatever_is_written_under_the_rules_is_well_formed_and_repeats_nothing(
    case: Case, random: Random, lines: int
) -> None:
    ids = draw(case, random, lines)
    assert len(ids) <= case.most
    [rollout] = case.layout.parse([ids])
    assert rollout.valid
    check(case, ids, rollout)
    letters = [query.replace(" ", "") for query in rollout.slots.queries.values()]
    assert len(set(letters)) == len(letters) > 0
    assert all(max(own) <= lines for own in rollout.slots.triggers.values())


def alone(case: Case, lines: int, ids: list[int]) -> Iterator[torch.Tensor]:
    """What a row is allowed before each of its tokens, in a batch of its own."""
    rules = case.layout.rules([case.prompt(lines)])
    for token in ids:
        yield rules.allowed()[0]
        rules.observe([token])


@settings(deadline=None, max_examples=25)
@given(random=st.randoms(use_true_random=False))
def test_rows_of_a_batch_do_not_see_each_other(case: Case, random: Random) -> None:
    eos = case.tokenizer.eos_token_id
    rows = {lines: draw(case, random, lines) for lines in (1, LINES)}
    rules = case.layout.rules([case.prompt(lines) for lines in rows])
    one, two = (alone(case, lines, ids) for lines, ids in rows.items())
    for step, tokens in enumerate(zip_longest(*rows.values(), fillvalue=eos)):
        for row, allowed in enumerate((next(one, None), next(two, None))):
            assert allowed is None or rules.allowed()[row].equal(allowed), (step, row)
        rules.observe(tokens)


def test_slots_of_a_list_are_its_places(policy: Any) -> None:
    model, tokenizer = policy()
    layout = ListLayout(model, tokenizer, 2)
    [rollout] = layout.parse([tokenizer("tea<sep>whole milk<eos>")["input_ids"]])
    assert rollout.slots == Slots({0: "tea", 1: "whole milk"}, {})
    assert rollout.segments == [0, -1, 1, 1, -1]
    assert (layout.query_slots, layout.trigger_slots, layout.full_length) == (2, 0, 2)


def test_slots_of_interests_are_queries_then_triggers(policy: Any) -> None:
    model, tokenizer = policy()
    add_special_tokens(tokenizer, model, think_tokens(LINES))
    layout = ThinkLayout(model, tokenizer, LIMITS, LINES, LENGTH)
    text = "<why>tea<why>milk<interest><b_2><queries>tea<interest><b_3><b_1><queries>rye bread<eos>"
    [rollout] = layout.parse([tokenizer(text)["input_ids"]])
    # Two queries per interest: interest 1 begins at slot 2; the triggers follow at slot 4.
    assert rollout.slots == Slots({0: "tea", 2: "rye bread"}, {4: (2,), 5: (3, 1)})
    assert rollout.segments == [-1, -1, -1, -1, -1, 4, -1, 0, -1, 5, 5, -1, 2, 2, -1]
    assert (layout.query_slots, layout.trigger_slots, layout.full_length) == (4, 2, 3)
