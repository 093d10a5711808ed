import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from aigq_tasks.services import processes
from aigq_tasks.services.environment import MARK
from aigq_tasks.services.processes import end_all, supervised

FORK = (
    "import os, time; os.fork(); os.setsid() if os.getsid(0) != os.getpid() else 0; time.sleep(99)"
)
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)"
HIDES = "import subprocess, time; subprocess.Popen(['sleep', '99'], env={}); time.sleep(99)"


def _start(script: str, state_dir: Path, name: str = "s3.1") -> "subprocess.Popen[bytes]":
    environment = {**os.environ, MARK: str(state_dir), "HONCHO_PROCESS_NAME": name}
    started = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, start_new_session=True
    )
    time.sleep(0.5)  # until the script has forked, or set its signal
    return started


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_process_is_known_by_its_mark_alone(tmp_path: Path) -> None:
    one = _start("import time; time.sleep(99)", tmp_path / "one")
    other = _start("import time; time.sleep(99)", tmp_path / "other", "valkey.1")
    assert {
        name: [p.pid for p in found] for name, found in supervised(tmp_path / "one").items()
    } == {"s3": [one.pid]}
    assert end_all(tmp_path / "one") == 1
    assert _gone(one.pid)
    assert other.poll() is None
    assert end_all(tmp_path / "other") == 1


def test_a_child_in_a_session_of_its_own_whose_parent_died(tmp_path: Path) -> None:
    parent = _start(FORK, tmp_path)
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    assert [p.pid for p in supervised(tmp_path)["s3"]] == [child.pid]
    assert end_all(tmp_path) == 1
    assert _gone(child.pid)


def test_a_child_that_hides_its_environment(tmp_path: Path) -> None:
    parent = _start(HIDES, tmp_path)
    (child,) = psutil.Process(parent.pid).children()
    assert end_all(tmp_path) == 2
    assert _gone(child.pid)


def test_one_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    stubborn = _start(STUBBORN, tmp_path)
    end_all(tmp_path)
    assert _gone(stubborn.pid)


def test_this_process_is_never_among_them(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; import sys;"
        "from aigq_tasks.services.processes import end_all, supervised;"
        "print(len(supervised(Path(sys.argv[1]))), end_all(Path(sys.argv[1])))"
    )
    environment = {**os.environ, MARK: str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True
    )
    assert done.stdout.split() == [b"0", b"0"]
