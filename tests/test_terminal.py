"""The terminal of the tests shows what a person would see."""

import sys

from terminal import in_terminal

SCRIPT = """
import sys
print("first \\x1b[1;32mgreen\\x1b[0m")
for n in range(3):
    sys.stdout.write(f"\\rcount {n}")
print()
print(sys.stdout.isatty(), "<last>")
sys.exit(3)
"""


def test_what_is_overwritten_is_gone_and_a_picture_shows_the_rest() -> None:
    seen = in_terminal([sys.executable, "-c", SCRIPT], timeout=60)
    assert seen.code == 3
    assert seen.text().split("\n") == ["first green", "count 2", "True <last>"]
    assert 0 <= seen.seconds_until("first") <= seen.seconds_until("<last>")
    assert {str(span.style) for span in seen.lines()[0].spans} == {"bold green"}
    svg = seen.picture("demo", "count", "last", without="nothing")
    assert "&lt;last&gt;" in svg.replace("&#160;", " ")
    assert "first" not in svg


def test_ctrl_c_reaches_the_command() -> None:
    script = "import time\ntry: time.sleep(print('ready', flush=True) or 60)\nfinally: print('bye')"
    seen = in_terminal([sys.executable, "-c", script], timeout=60, stop_at="ready")
    assert seen.code == -2
    assert "bye" in seen.text()


def test_a_command_that_does_not_end_is_killed() -> None:
    seen = in_terminal([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.5)
    assert seen.code == -9
