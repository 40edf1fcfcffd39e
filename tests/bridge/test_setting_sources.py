"""Three sources that say the same in the same words, and who goes before whom."""

from typing import Any

import pytest

from rlay.bridge.setting_sources import CONFIG_VARIABLE, gather_settings, load_settings
from rlay.bridge.settings import SETTINGS, BridgeSettings, Kind, SettingsError
from rlay.protocol.addresses import Endpoint

# Two values of each kind: how a text says it, how TOML does, and what is meant.
EXAMPLES: dict[Kind, list[tuple[str, str, Any]]] = {
    Kind.TEXT: [("one", '"one"', "one"), ("two", '"two"', "two")],
    Kind.TEXTS: [("one,two", '["one", "two"]', ("one", "two")),
                 ("three", '"three"', ("three",))],
    Kind.ENDPOINT: [("h:1", '"h:1"', Endpoint("h", 1)),
                    ("[::1]:2", '"[::1]:2"', Endpoint("::1", 2))],
    Kind.ENDPOINTS: [("h:1, [::]:0", '["h:1", "[::]:0"]',
                      (Endpoint("h", 1), Endpoint("::", 0))),
                     ("h:2", '"h:2"', (Endpoint("h", 2),))],
    Kind.PATH: [("/one", '"/one"', "/one"), ("/two", '"/two"', "/two")],
    Kind.SWITCH: [("true", "true", True), ("no", "false", False)],
    Kind.SECONDS: [("1.5", "1.5", 1.5), ("4", "4", 4.0)],
    Kind.COUNT: [("5", "5", 5), ("6", "6", 6)],
}  # fmt: skip
BY_NAME = {setting.name: setting for setting in SETTINGS}
names = pytest.mark.parametrize("name", BY_NAME)


def gather(options=(), environment=(), config=None):
    return gather_settings(dict(options), dict(environment), config)


def as_option(setting, text):
    """What the command line makes of it: one text for each time it is given."""
    if setting.kind in (Kind.TEXTS, Kind.ENDPOINTS):
        return tuple(text.replace(" ", "").split(","))
    return {"true": True, "no": False}.get(text, text)


@pytest.fixture
def write(tmp_path):
    """Write a file of settings and return its path."""

    def write_file(text):
        path = tmp_path / "bridge.toml"
        path.write_text(text)
        return str(path)

    return write_file


@names
def test_three_sources_mean_the_same(write, name):
    """Each setting can be given in each way."""
    setting = BY_NAME[name]
    for text, toml, value in EXAMPLES[setting.kind]:
        expected = BridgeSettings(**{name: value})
        assert gather({name: as_option(setting, text)}) == expected
        assert gather((), {setting.variables[0]: text}) == expected
        assert gather((), (), write(f"{name} = {toml}\n")) == expected


@names
def test_command_line_goes_before_environment_before_file(write, name):
    """For each setting, a switch that is turned off included."""
    setting = BY_NAME[name]
    (text, toml, value), (other, other_toml, other_value) = EXAMPLES[setting.kind]
    variable = setting.variables[0]
    path = write(f"{name} = {toml}\n")
    assert getattr(gather((), {variable: other}, path), name) == other_value
    path = write(f"{name} = {other_toml}\n")
    assert getattr(gather((), {variable: text}, path), name) == value
    option = {name: as_option(setting, other)}
    assert getattr(gather(option, {variable: text}), name) == other_value


def test_without_sources_everything_is_default():
    """Also where options are None or empty, and variables are empty."""
    nothing = dict.fromkeys(BY_NAME) | {"listen": (), "share": ()}
    empty = {setting.variables[0]: "" for setting in SETTINGS}
    assert gather(nothing, empty) == BridgeSettings()


def test_names_follow_from_the_name_of_the_setting():
    """Nobody has to remember three."""
    setting = BY_NAME["resume_window_s"]
    assert setting.option == "--resume-window-s"
    assert setting.variables == ("RLAY_BRIDGE_RESUME_WINDOW_S",)


def test_token_file_has_the_variable_of_direct_peers_too():
    """The bridge's own one goes first."""
    assert gather((), {"RLAY_TOKEN_FILE": "a"}).token_file == "a"
    both = {"RLAY_TOKEN_FILE": "a", "RLAY_BRIDGE_TOKEN_FILE": "b"}
    assert gather((), both).token_file == "b"


# ---------------------------------------------------------------------- the file


def test_file_may_be_named_by_a_variable(write):
    """The command line's goes first."""
    path = write("max_channels = 7\n")
    assert gather((), {CONFIG_VARIABLE: path}).max_channels == 7
    assert gather((), {CONFIG_VARIABLE: "/nowhere"}, path).max_channels == 7


def test_unknown_key_names_the_nearest(write):
    """And the file."""
    path = write('tokenfile = "x"\n')
    with pytest.raises(SettingsError, match="did you mean token_file") as caught:
        gather((), (), path)
    assert path in str(caught.value)


def test_unknown_key_like_nothing_is_refused_too(write):
    """Without a guess."""
    with pytest.raises(SettingsError, match=r"unknown setting 'zzz' in .*toml$"):
        gather((), (), write("zzz = 1\n"))


def test_token_in_the_file_is_refused(write):
    """With the way that is right; the token itself is not repeated."""
    with pytest.raises(SettingsError, match="which token_file names") as caught:
        gather((), (), write('token = "hunter2hunter2hunter2"\n'))
    assert "hunter2" not in str(caught.value)


def test_relative_path_is_relative_to_the_file(write, tmp_path, monkeypatch):
    """So that it works wherever one stands."""
    path = write('token_file = "secrets/token"\n')
    monkeypatch.chdir("/")
    assert gather((), (), path).token_file == str(tmp_path / "secrets" / "token")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"listen = [", "cannot be read"),
        (b"share = '\xff'", "cannot be read"),
        (b"#" * 300_000, "more than 262144 bytes"),
    ],
)
def test_file_that_is_no_toml_is_refused(tmp_path, content, text):
    """With its name."""
    path = tmp_path / "bridge.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=text) as caught:
        gather((), (), str(path))
    assert str(path) in str(caught.value)


def test_file_that_is_missing_is_refused(tmp_path):
    """Settings that were asked for are not left out."""
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        gather((), (), str(tmp_path / "none"))


# ----------------------------------------------------------------- wrong settings


def test_unknown_variable_names_the_nearest():
    """A typo would otherwise go unnoticed."""
    with pytest.raises(SettingsError, match="did you mean RLAY_BRIDGE_LISTEN"):
        gather((), {"RLAY_BRIDGE_LISTN": "x"})


def test_variables_of_kubernetes_are_no_typos():
    """It sets them for a service called rlay-bridge."""
    service = {
        "RLAY_BRIDGE_SERVICE_HOST": "10.0.0.1",
        "RLAY_BRIDGE_SERVICE_PORT": "7450",
        "RLAY_BRIDGE_PORT": "tcp://10.0.0.1:7450",
        "RLAY_BRIDGE_PORT_7450_TCP_ADDR": "10.0.0.1",
    }
    assert gather((), service) == BridgeSettings()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("listen", "::1", "IPv6 address stands in brackets"),
        ("listen", "h:70000", "'70000' is no port"),
        ("heartbeat_s", "soon", "'soon' is not a number"),
        ("heartbeat_s", "0", "0 is not between 0.05 and 60"),
        ("heartbeat_s", "nan", "nan is not between"),
        ("heartbeat_s", "inf", "inf is not between"),
        ("max_channels", "1.5", "'1.5' is not a whole number"),
        ("max_channels", "0", "0 is not between 1 and 65536"),
        ("max_links", "1" * 30, "is not between"),
        ("max_slot_bytes", "4294967296", "4294967296 is not between 1 and 1073741824"),
        ("max_links", "1" * 400, "too large"),
        ("insecure", "maybe", "'maybe' is neither true nor false"),
        ("token_file", "a\nb", "cannot be printed"),
    ],
)
def test_wrong_text_is_refused_with_its_source(name, text, message):
    """The option, or the variable, is named as the user wrote it."""
    setting = BY_NAME[name]
    given = (text,) if setting.kind is Kind.ENDPOINTS else text
    for options, environment, where in (
        ({name: given}, {}, setting.option),
        ({}, {setting.variables[0]: text}, setting.variables[0]),
    ):
        with pytest.raises(SettingsError) as caught:
            gather(options, environment)
        assert str(caught.value).startswith(f"{where}: ")
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("heartbeat_s = true", "True is not a number"),
        ("max_channels = 1.5", "1.5 is not a whole number"),
        ("max_channels = false", "False is not a whole number"),
        ("share = 7", "7 is neither a text nor a list of texts"),
        ("share = [7]", "7 is no text"),
        ("prefix = 7", "7 is no text"),
        ("insecure = 1", "1 is neither true nor false"),
        ("listen = {host = 'x'}", "neither a text nor a list"),
        ("token_file = ''", "it is empty"),
    ],
)
def test_wrong_type_in_the_file_is_refused(write, line, message):
    """The file and the key are named."""
    path = write(line + "\n")
    with pytest.raises(SettingsError) as caught:
        gather((), (), path)
    name = line.partition(" ")[0]
    assert str(caught.value).startswith(f"{path}: {name}: ")
    assert message in str(caught.value)


def test_loaded_settings_are_checked():
    """A bridge with nothing to do is not started."""
    with pytest.raises(SettingsError, match="listens, dials or does both"):
        load_settings({}, {})
