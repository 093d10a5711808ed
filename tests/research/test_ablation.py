import pandas as pd

from aigq_tasks.context.interests import Interest, read_interests, render_interests
from aigq_tasks.stages.ablation import (
    METRICS,
    VARIANTS,
    report,
    spelt_out,
    unexplained,
    unordered,
)

POINTS = [
    Interest("milk due again", (3, 1), ("milk", "oat milk", "butter")),
    Interest("tea often", (2,), ("tea", "honey")),
]
DIRECT = pd.DataFrame(
    {
        "prompt": ["<profile>65+<history><3_day_ago><search><2_time><every_7_day>tea<hints>"] * 20,
        "labels": [["milk", "tea", "beer"]] * 20,
    }
)
THINK = DIRECT.assign(target=render_interests(POINTS))


def test_unordered_keeps_what_there_is() -> None:
    lists = unordered(DIRECT, seed=0)["labels"].tolist()
    assert all(sorted(labels) == ["beer", "milk", "tea"] for labels in lists)
    assert len({tuple(labels) for labels in lists}) == 6  # every order comes up
    assert unordered(DIRECT, seed=0)["labels"].tolist() == lists
    targets = [read_interests(target) for target in unordered(THINK, seed=0)["target"]]
    orders = set()
    for points in targets:
        assert {point.rationale: (point.triggers, set(point.queries)) for point in points} == {
            point.rationale: (point.triggers, set(point.queries)) for point in POINTS
        }
        orders.add(tuple(point.queries for point in points))
    assert len(orders) > 6


def test_without_rationales_the_layout_stays() -> None:
    [target] = set(unexplained(THINK, seed=0)["target"])
    assert target == (
        "<why>lately<why>lately<interest><b_3><b_1><queries>milk<sep>oat milk<sep>butter"
        "<interest><b_2><queries>tea<sep>honey"
    )


def test_spelt_out_prompts() -> None:
    [prompt] = set(spelt_out(DIRECT, seed=0)["prompt"])
    assert prompt == (
        "suggest search queries user 65+ history 1 3 days ago searched 2 times every 7 days tea "
        "queries"
    )


def test_the_report_pairs_a_variant_with_its_base() -> None:
    def scores(arm: str, values: list[float]) -> pd.DataFrame:
        users = [f"u{i}" for i in range(len(values))]
        table = pd.DataFrame({"arm": arm, "user_id": users, "seed": 1, "day": "2017-11-06"})
        return table.assign(**dict.fromkeys(METRICS, values))

    names = [variant.name for variant in VARIANTS]
    frames = [scores(name, [0.2, 0.6]) for name in names if name != "direct, unordered labels"]
    frames.append(scores("direct, unordered labels", [0.1, 0.5]))  # 0.1 less for both users
    table = pd.concat(frames).sample(frac=1, random_state=0)
    lines = report(table, dict.fromkeys(names, 12.4), seed=0).splitlines()
    rows = {cells[1]: cells for line in lines if len(cells := line.split("|")) > 2}
    changed = [cell.strip() for cell in rows[" direct, unordered labels "]]
    assert changed[2:5] == ["2", "12", "0.300 [0.100, 0.500]"]
    assert changed[-2] == "-0.100 [-0.100, -0.100] to direct"
    assert rows[" think "][-2].strip() == "+0.000 [+0.000, +0.000] to direct"
    assert rows[" direct "][-2].strip() == "-"
