import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aigq_tasks import cli, settings
from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.releases.bootstrap import STEPS
from aigq_tasks.stages.day import DAY

COMMANDS = [*(step.name for step in DAY), "publish"]
IN_THE_LEDGER = (
    ["publish", "--day", "2017-11-06"],
    ["bootstrap", "release", "--day", "2017-11-05"],
    ["rollback", "--to", "3", "--reason", "clicks fell"],
    ["decline", "--day", "2017-11-06", "--reason", "odd"],
    ["promote"],
)


def aigq(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, without the AIGQ_ variables of this one."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AIGQ_")}
    return subprocess.run(
        [sys.executable, "-c", "from aigq_tasks.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**kept, "TERM": "dumb", "COLUMNS": "100", **environment},
        timeout=120,
        check=False,
    )


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, [*arguments, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    return result.output


def test_help_lists_every_stage_with_its_summary() -> None:
    listed = dict(re.findall(r"^│ ([a-z0-9-]+) +(\S.*?) *│$", shown(), flags=re.MULTILINE))
    assert set(COMMANDS) <= set(listed)
    assert {"bootstrap", "hints", "report", "up", "down", "status", "demo"} <= set(listed)
    assert all(len(summary.split()) > 2 for summary in listed.values())


def test_the_stages_are_listed_in_the_order_of_the_day() -> None:
    text = shown()
    places = [text.index(f"│ {stage} ") for stage in COMMANDS]
    assert places == sorted(places)


def test_bootstrap_lists_its_steps_and_all() -> None:
    listed = re.findall(r"^│ ([a-z]+) +\S", shown("bootstrap"), flags=re.MULTILINE)
    assert listed == [*STEPS, "all"]


@pytest.mark.parametrize("stage", COMMANDS)
def test_a_stage_asks_for_its_day(stage: str) -> None:
    assert "YYYY-MM-DD" in shown(stage)
    result = CliRunner().invoke(cli.app, [stage])
    assert result.exit_code == 2
    assert "--day" in result.output


@pytest.mark.parametrize("day", ["2017-13-01", "yesterday", "06.11.2017", ""])
@pytest.mark.parametrize("command", [["logs"], ["bootstrap", "all"], ["hints", "--user", "h1"]])
def test_a_wrong_day_never_starts_a_stage(
    command: list[str], day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(settings, "load_settings", lambda: opened.append(day))
    result = CliRunner().invoke(cli.app, [*command, "--day", day])
    assert result.exit_code != 0
    assert not opened


def test_a_wrong_day_is_one_clear_line(tmp_path: Path) -> None:
    result = aigq("logs", "--day", "2017-13-01", folder=tmp_path)
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if "2017-13-01" in line]
    assert len(lines) == 1
    assert "'2017-13-01' is not a day: write YYYY-MM-DD" in lines[0]
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_what_a_user_can_mend_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    result = aigq("logs", "--day", "2017-11-06", folder=tmp_path, AIGQ_CONFIG="absent.toml")
    assert result.returncode == 1
    assert result.stderr == "aigq: AIGQ_CONFIG names absent.toml, which is not a file\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code"), [(AigqError("S3 is down; run `aigq up`"), 1), (OutsideTheLog("no log"), 99)]
)
def test_errors_become_exit_codes(
    error: AigqError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(settings, "load_settings", fail)
    monkeypatch.setattr(sys, "argv", ["aigq", "logs", "--day", "2017-11-06"])
    monkeypatch.setattr(os, "environ", dict(os.environ))  # main() sets defaults there
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == code
    assert capsys.readouterr().err == f"aigq: {error}\n"


@pytest.mark.parametrize("stage", ["think-samples", "think-policy"])
def test_think_is_renewed_every_so_many_days(stage: str, tmp_path: Path) -> None:
    result = aigq(stage, "--day", "2017-11-08", folder=tmp_path)
    assert result.returncode == 99  # the scheduler skips it
    assert result.stderr == (
        "aigq: AIGQ-Think is not renewed on 2017-11-08: every 5 days from 2017-11-05 on "
        "(think.update_days)\n"
    )


def test_a_fault_of_the_program_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(settings, "load_settings", fail)
    monkeypatch.setattr(sys, "argv", ["aigq", "logs", "--day", "2017-11-06"])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_the_command_line_loads_no_stage_to_say_what_it_can() -> None:
    code = (
        "import sys; sys.argv = ['aigq', '--help']\n"
        "from aigq_tasks.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sorted(sys.modules), file=sys.stderr)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "think-policy" in run.stdout
    loaded = run.stderr.split()
    ours = {module for module in loaded if module.startswith("aigq_tasks.")}
    stages = {module for module in ours if module.startswith("aigq_tasks.stages.")}
    assert stages == {"aigq_tasks.stages.day"}  # names, no stage
    assert "aigq_tasks.settings" not in ours


@pytest.mark.parametrize("command", IN_THE_LEDGER, ids=lambda command: command[0])
def test_who_and_why_come_from_the_option_or_the_scheduler_else_from_the_system(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ...]] = []

    def note(*arguments: Any) -> None:
        told.append(tuple(str(argument) for argument in arguments))

    for target in (
        "publish.publish",
        "bootstrap.bootstrap",
        "rollback.rollback",
        "approval.decline",
        "promote.promote",
    ):
        monkeypatch.setattr(f"aigq_tasks.releases.{target}", note)
    nothing = "aigq_tasks.services.proposals.propose_rollback"
    monkeypatch.setattr(nothing, lambda ctx, entry: None)
    monkeypatch.setattr("getpass.getuser", lambda: "bob")
    for name in ("AIGQ_WHO", "AIGQ_WHY"):
        monkeypatch.delenv(name, raising=False)
    scheduler = {"AIGQ_WHO": "airflow run 7", "AIGQ_WHY": "nightly"}
    for extra, env in ((["--who", "ada"], scheduler), ([], scheduler), ([], {"AIGQ_WHO": ""})):
        result = CliRunner().invoke(cli.app, [*command, *extra], env=env, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    who = [next(name for name in call if name in ("ada", "airflow run 7", "bob")) for call in told]
    assert who == ["ada", "airflow run 7", "bob"]
    if command[0] in ("publish", "bootstrap"):
        assert [call[-1] for call in told] == ["nightly", "nightly", "by hand"]


def test_without_any_name_nothing_is_appended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody() -> str:
        raise KeyError("no such uid")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr(os, "environ", {**os.environ, "AIGQ_WHO": ""})
    monkeypatch.setattr(sys, "argv", ["aigq", "promote"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    expected = "aigq: no user name for the ledger: set the variable AIGQ_WHO\n"
    assert capsys.readouterr().err == expected


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """The command as it is installed, by its name."""
    script = tmp_path / "aigq"
    script.write_text(f"#!{sys.executable}\nfrom aigq_tasks.cli import main\nmain()\n")
    script.chmod(0o755)
    return script


def test_bash_completes_commands_and_options(command: Path) -> None:
    """In a bash of its own, by the script that the command gives."""
    asked = """
source <("$AIGQ" --show-completion)
complete() {
    COMP_WORDS=("$AIGQ" "$@") COMP_CWORD=$#
    _aigq_completion "$AIGQ"
    echo "${COMPREPLY[*]}"
}
complete rep
complete plan --
complete bootstrap s
complete diff 1 2 --a
"""
    done = subprocess.run(
        ["bash", "-c", asked],
        capture_output=True,
        text=True,
        env={**os.environ, "AIGQ": str(command)},
        timeout=120,
        check=True,
    )
    reports, options, steps, whole = done.stdout.splitlines()
    assert reports == "report"
    assert {"--from", "--to", "--all"} <= set(options.split())
    assert steps.split() == ["stack", "sessions"]
    assert whole == "--all"


def test_zsh_completes_commands_with_their_summaries(command: Path) -> None:
    """By what zsh's script asks; zsh itself is not among what the tests need."""
    asked = {"_AIGQ_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "aigq rep"}
    done = subprocess.run(
        [str(command)],
        capture_output=True,
        text=True,
        env={**os.environ, **asked},
        timeout=120,
        check=False,
    )
    assert '"report":"The table of days' in done.stdout


def test_help_names_completion() -> None:
    assert {"--install-completion", "--show-completion"} <= set(shown().split())
