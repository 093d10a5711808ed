from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from aigq_tasks.errors import AigqError
from aigq_tasks.settings import Settings, config_file, load_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder and no AIGQ_ variable from outside."""
    import os

    for name in [name for name in os.environ if name.startswith("AIGQ_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_need_neither_file_nor_environment() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.s3.url == "http://127.0.0.1:8333"
    assert settings.valkey.url == "redis://127.0.0.1:6399/0"
    assert settings.mlflow.url == "http://127.0.0.1:5500"
    assert settings.state_dir == Path(".state")


def test_what_a_state_was_made_with_comes_right_after_the_defaults() -> None:
    Path(".state").mkdir()
    Path(".state/settings.toml").write_text("seed = 3\n[market]\nhouseholds = 800\n")
    Path("aigq.toml").write_text("seed = 4\n")
    settings = load_settings()
    assert (settings.seed, settings.market.households) == (4, 800)
    assert settings.market.requests_mean == Settings(state_dir=Path("none")).market.requests_mean


def test_file_then_secrets_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("aigq.toml").write_text(
        'seed = 1\nlaunch_days = 3\n[s3]\nport = 9000\nbucket = "mine"\naccess_key = "file"\n'
    )
    Path(".state").mkdir()
    Path(".state/secrets.env").write_text(
        "AIGQ_S3__ACCESS_KEY=secrets\nAIGQ_S3__SECRET_KEY=hush\nAIGQ_S3__BUCKET=secrets\n"
    )
    monkeypatch.setenv("AIGQ_S3__BUCKET", "environment")
    monkeypatch.setenv("AIGQ_LAUNCH_DAYS", "4")
    monkeypatch.setenv("AIGQ_BOOTSTRAP_DAY", "2017-10-01")
    settings = load_settings()
    assert settings.seed == 1  # the file only
    assert settings.s3.port == 9000
    assert settings.s3.access_key == "secrets"  # before the file
    assert settings.s3.bucket == "environment"  # before both
    assert settings.launch_days == 4
    assert settings.bootstrap_day == date(2017, 10, 1)
    assert settings.s3.host == "127.0.0.1"  # nobody names it
    assert settings.s3.secret_key.get_secret_value() == "hush"


def test_one_field_of_a_section_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the section's default is not that of its class."""
    Path("aigq.toml").write_text("[item_text.sft]\nmax_steps = 4\n")
    monkeypatch.setenv("AIGQ_THINK__GRPO__STEPS", "2")
    found, default = load_settings(), Settings.model_construct()
    assert found.think.grpo == default.think.grpo.model_copy(update={"steps": 2})
    assert found.item_text.sft == default.item_text.sft.model_copy(update={"max_steps": 4})


def test_a_secret_is_not_printed() -> None:
    Path(".state").mkdir()
    Path(".state/secrets.env").write_text("AIGQ_S3__SECRET_KEY=hush\n")
    settings = load_settings()
    assert settings.s3.secret_key.get_secret_value() == "hush"
    assert "hush" not in repr(settings)
    assert "hush" not in settings.model_dump_json()


def test_secrets_of_other_programs_share_the_file() -> None:
    Path(".state").mkdir()
    Path(".state/secrets.env").write_text(
        "AIRFLOW__API_AUTH__JWT_SECRET=x\nAIGQ_ELSEWHERE=y\nAIGQ_S3__SECRET_KEY=hush\n"
    )
    assert load_settings().s3.secret_key.get_secret_value() == "hush"


@pytest.mark.parametrize("where", ["file", "environment"])
def test_the_secrets_lie_in_the_state_folder(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/secrets.env").write_text("AIGQ_S3__SECRET_KEY=hush\n")
    if where == "file":
        Path("aigq.toml").write_text('state_dir = "elsewhere"\n')
    else:
        monkeypatch.setenv("AIGQ_STATE_DIR", "elsewhere")
    settings = load_settings()
    assert settings.state_dir == Path("elsewhere")
    assert settings.s3.secret_key.get_secret_value() == "hush"


def test_another_file_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("aigq.toml").write_text("seed = 1\n")
    Path("other.toml").write_text("seed = 2\n")
    monkeypatch.setenv("AIGQ_CONFIG", "other.toml")
    assert config_file() == Path("other.toml")
    assert load_settings().seed == 2
    monkeypatch.setenv("AIGQ_CONFIG", "absent.toml")
    with pytest.raises(AigqError, match=r"absent\.toml, which is not a file"):
        load_settings()


def test_an_endpoint_takes_the_place_of_host_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGQ_S3__ENDPOINT", "https://s3.example.org")
    assert load_settings().s3.url == "https://s3.example.org"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("seeed = 3\n", "'seeed'"),
        ("[s3]\nprot = 3\n", "'s3.prot'.*AIGQ_S3__PROT"),
        ("[s3]\nport = 'many'\n", "'s3.port'.*integer.*AIGQ_S3__PORT"),
        ("s3 = 4\n", "'s3'"),
        ("launch_days = 'soon'\n", "'launch_days'.*valid integer"),
        ("[policy.grpo]\nnonsense = 1\n", r"'policy\.grpo\.nonsense'"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_that_names_it(text: str, key: str) -> None:
    Path("aigq.toml").write_text(text)
    with pytest.raises(AigqError, match=key) as error:
        load_settings()
    assert "aigq.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_value_in_the_environment_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGQ_S3__PROT", "3")
    with pytest.raises(AigqError, match="AIGQ_S3__PROT"):
        load_settings()


@pytest.mark.parametrize("data", [b"seed == 3\n", b"\xff\xfe", b"[s3\n"])
def test_a_file_that_is_not_toml_is_named(data: bytes) -> None:
    Path("aigq.toml").write_bytes(data)
    with pytest.raises(AigqError, match=r"aigq\.toml cannot be read"):
        load_settings()


def test_a_state_folder_that_is_no_text_is_named() -> None:
    Path("aigq.toml").write_text("state_dir = 3\n")
    with pytest.raises(AigqError, match="state_dir"):
        load_settings()


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.seed = 3
    with pytest.raises(ValidationError):
        settings.s3.port = 3


def test_a_variable_that_is_no_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGQ_WHO", "airflow")
    load_settings()
    monkeypatch.setenv("AIGQ_BOOTSTRAP_DAYS", "2017-11-05")
    with pytest.raises(AigqError, match=r"AIGQ_BOOTSTRAP_DAYS names no .*AIGQ_BOOTSTRAP_DAY\?"):
        load_settings()
