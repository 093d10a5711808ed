import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: TID253
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("run_il_grpo.py")
LAUNCH = ["-m", "accelerate.commands.launch", "--cpu", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_processes"]


def run(out: Path, *launch: str) -> Path:
    out.mkdir()
    command = [sys.executable, *launch, str(SCRIPT), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.integration
def test_two_processes_are_one(tmp_path: Path) -> None:
    """The same global batch on two processes gives the same rewards, losses and weights."""
    one, two = run(tmp_path / "one"), run(tmp_path / "two", *LAUNCH, "2")
    histories = [json.loads((out / "history.json").read_text()) for out in (one, two)]
    for alone, together in zip(*histories, strict=True):
        for name in ("reward", "loss", "entropy", "completions/mean_length"):
            assert together[name] == pytest.approx(alone[name], abs=1e-4), name
    weights = [load_file(out / "weights.safetensors") for out in (one, two)]
    for name, table in weights[0].items():
        torch.testing.assert_close(weights[1][name], table, atol=1e-5, rtol=0)
