"""Settings: flags before environment before defaults; secrets never shown."""

from typing import Annotated

import pytest
from msgspec import Meta

from services import PIPELINE
from services.registry import load as load_worker
from shared.process.settings import HubSettings, Settings, SettingsError, fields, load, parse


class Toy(Settings, frozen=True, kw_only=True):
    """A toy."""

    size: Annotated[int, Meta(description="How big.", ge=1)] = 3
    share: Annotated[float | None, Meta(description="How much, 100% at most.")] = None


def test_flags_win_over_the_environment_and_that_over_defaults():
    assert load(Toy, {}, {}).size == 3
    assert load(Toy, {}, {"MOORAGE_SIZE": "4"}).size == 4
    assert load(Toy, {"size": "5"}, {"MOORAGE_SIZE": "4"}).size == 5


def test_values_are_converted_to_their_types():
    found = load(Toy, {}, {"MOORAGE_PROVISION": "false", "MOORAGE_SHARE": "0.5", "MOORAGE_DRAIN_SECONDS": "1"})
    assert (found.provision, found.share, found.drain_seconds) == (False, 0.5, 1.0)


def test_an_unusable_value_is_named_with_its_source_and_meaning():
    with pytest.raises(SettingsError, match=r"MOORAGE_SIZE: expected `int` >= 1, got '0'\. How big\."):
        load(Toy, {}, {"MOORAGE_SIZE": "0"})
    with pytest.raises(SettingsError, match="--size: "):
        load(Toy, {"size": "many"}, {})
    with pytest.raises(SettingsError, match="MOORAGE_DRAIN_SECONDS: expected a finite number"):
        load(Toy, {}, {"MOORAGE_DRAIN_SECONDS": "inf"})


def test_secrets_have_no_flag_and_show_nowhere(capsys):
    settings = load(Settings, {}, {"MOORAGE_NATS_PASSWORD": "hunter2", "MOORAGE_NATS_TOKEN": "t0ken"})
    assert settings.nats_password == "hunter2"
    assert "hunter2" not in repr(settings)
    assert "t0ken" not in repr(settings)
    with pytest.raises(SystemExit):
        parse(Settings, ["--nats-password", "x"], {}, prog="toy", summary="A toy")
    assert "hunter2" not in capsys.readouterr().err


def test_help_explains_every_setting_with_its_variable(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Toy, ["--help"], {}, prog="toy", summary="A toy")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "How big. Default: 3. [MOORAGE_SIZE]" in " ".join(text.split())


def test_a_wrong_value_on_the_command_line_ends_with_code_2_and_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Toy, ["--size", "x"], {}, prog="toy", summary="A toy")
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("kind", [Settings, HubSettings, Toy])
def test_every_setting_has_a_default_and_a_sentence(kind):
    for field in fields(kind):
        assert field.description.endswith("."), field.name
    kind()


@pytest.mark.parametrize("name", PIPELINE)
def test_every_workers_settings_have_a_default_and_a_sentence(name):
    kind = load_worker(name).settings
    kind()
    for field in fields(kind):
        assert field.description.endswith((".", ")")), field.name


@pytest.mark.parametrize("name", PIPELINE)
def test_every_measure_says_its_unit_in_its_name(name):
    for field in fields(load_worker(name).settings):
        if isinstance(field.default, float):
            assert field.name.endswith(("_seconds", "_milliseconds", "_weight", "_share", "_penalty")), field.name
