"""A drawn part of the crash matrix on a small world. `make chaos` has the whole of it, with the
real stages."""

from pathlib import Path

import pytest
from chaos import matrix, small

from aigq_tasks.settings import Settings
from aigq_tasks.storage import crash

pytestmark = pytest.mark.integration


def test_what_is_killed_recovers(settings: Settings, tmp_path: Path) -> None:
    world = small.build(settings, tmp_path)
    chosen = matrix.some(matrix.cells(world.stages), count=8, seed=5)
    assert len(list(matrix.run_cells(world, chosen))) == 8


def test_every_point_is_in_a_cell() -> None:
    known = {
        point for name in dir(crash) if name.endswith("_POINTS") for point in vars(crash)[name]
    }
    reached = {cell.point for cell in matrix.cells([small.SCALE])}
    assert reached | set(crash.TRAINING_POINTS) == known
