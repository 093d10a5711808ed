import numpy as np
import pytest
from small_day import APPLES, EGGS, FUJI, made

from aigq_tasks.sources.market.intent.pages import Pages
from aigq_tasks.sources.market.intent.sessions import Day

N, SEED = 6000, 17


def rates(
    day: Day, queries: list[str], step: int = 0, met: list[int] | None = None
) -> tuple[list[float], np.ndarray]:
    """Of N sessions the share that clicks each hint of the same page, and the rows that are met."""
    sessions, size = len(day.sessions), len(queries)
    session = np.repeat(np.arange(sessions), size)
    done = np.isin(day.steps["step"], met or [])
    clicked, row = Pages(day, SEED).clicks(
        queries * sessions,
        session,
        np.full(len(session), step),
        np.tile(np.arange(1, size + 1), sessions),
        done,
    )
    return clicked.reshape(sessions, size).mean(axis=0).tolist(), row.reshape(sessions, size)


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        # The next need in own words: 0.904; noise twice; examined 1, 0.72, 0.52.
        (["braeburn apples", "zzz", "zzz"], [0.904, 0.72 * 0.004, 0.52 * 0.004]),
        # One step ahead: focus 0.15 + 0.85 · e^(-1/3) = 0.759052, so 0.687147.
        (["zzz", "fuji apples", "zzz"], [0.004, 0.72 * 0.687147, 0.52 * 0.004]),
        # In other words 0.5 · 0.9 + 0.004; below it the same need has 0.1 of its appeal, unless the
        # hint above was clicked: the draw of a need is one draw, so what it clicks above is less
        # than 0.454, and the one below (0.094) is met already where it would be clicked.
        (["braeburn apple", "braeburn apples", "zzz"], [0.454, 0.0, 0.52 * 0.004]),
    ],
)
def test_click_rates_of_a_page(queries: list[str], expected: list[float]) -> None:
    found, _ = rates(made([APPLES, FUJI, EGGS], [0], N), queries)
    for rate, chance in zip(found, expected, strict=True):
        error = 4 * np.sqrt(max(chance * (1 - chance), 0.002) / N)
        assert rate == pytest.approx(chance, abs=error)


def test_a_hint_below_one_for_the_same_need_has_a_tenth_of_its_appeal() -> None:
    # The hint above is not looked at by 0.28 of those who see it in the second place; of them the
    # third one is clicked with 0.52 · (0.004 + 0.09), and never by those who clicked above: their
    # need is met. Draws of a need below 0.094 always click above when looked at.
    found, rows = rates(made([APPLES], [0], N), ["zzz", "braeburn apples", "braeburn apples"])
    chance = 0.28 * 0.52 * 0.094 + 0.72 * 0.52 * 0.004 * 0.904
    assert found[2] == pytest.approx(chance, abs=4 * np.sqrt(chance / N))
    assert not ((rows[:, 1] >= 0) & (rows[:, 2] >= 0)).any()


def test_what_is_met_already_or_lies_behind_is_clicked_by_chance_only() -> None:
    day = made([APPLES, FUJI, EGGS], [0], N)
    for step, met in ((0, [0]), (1, [])):
        found, rows = rates(day, ["braeburn apples"], step, met)
        assert found[0] == pytest.approx(0.004, abs=4 * np.sqrt(0.004 / N))
        assert (rows == -1).all()


def test_what_is_walked_to_is_not_clicked() -> None:
    day = made([APPLES], [0], N)
    day.steps["typed"] = False
    found, _ = rates(day, ["braeburn apples"])
    assert found[0] == pytest.approx(0.004, abs=4 * np.sqrt(0.004 / N))


def test_the_draws_do_not_depend_on_what_is_shown() -> None:
    day = made([APPLES, FUJI], [0], N)
    _, one = rates(day, ["braeburn apples", "zzz"])
    _, other = rates(day, ["braeburn apples", "fuji apples"])
    assert (one[:, 0] == other[:, 0]).all()
    # A need's draw is its own: a better place or better words click wherever worse ones did.
    _, worse = rates(day, ["braeburn apple", "zzz"])
    assert ((worse[:, 0] >= 0) <= (one[:, 0] >= 0)).all()
