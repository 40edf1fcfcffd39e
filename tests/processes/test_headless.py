"""What each engine needs to open no window, and how an engine is recognized."""

import pytest

from rlay.processes.headless import ENGINES, Headless, engine_of, headless_engine


def test_words_stand_where_the_engine_reads_them():
    """In front, behind the program, and at the end."""
    needs = Headless(("xvfb-run",), ("--headless",), ("-nographics",))
    assert needs.words(["game", "--level", "3"]) == [
        "xvfb-run", "game", "--headless", "--level", "3", "-nographics",
    ]  # fmt: skip


def test_words_that_are_there_already_are_not_repeated():
    """A user who knows them may write them."""
    assert ENGINES["godot"].words(["godot", "--headless"]) == ["godot", "--headless"]
    unity = ["game", "-batchmode", "-nographics", "-logFile", "-"]
    assert ENGINES["unity"].words(unity) == unity


@pytest.mark.parametrize(
    ("files", "program", "engine"),
    [
        (["Game_Data/app.info"], "Game.x86_64", "unity"),
        (["Game_Data/app.info"], "Other.x86_64", "sdl"),
        (["Engine/Binaries/x"], "Game.sh", "unreal"),
        ([], "Game/Binaries/Linux/Game-Linux-Shipping", "unreal"),
        ([], "UnrealEditor-Cmd", "unreal"),
        (["Game.pck"], "Game.x86_64", "godot"),
        ([], "godot4", "godot"),
        ([], "Godot_v4.3-stable_linux.x86_64", "godot"),
        ([], "godot3-server", "sdl"),
        ([], "love", "sdl"),
    ],
)
def test_engine_is_recognized_by_the_files_of_a_game(tmp_path, files, program, engine):
    """As each engine's export lays them out."""
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert engine_of(str(tmp_path / program)) == engine


def test_named_engine_is_taken_as_it_is():
    """True looks at the files, False leaves the window."""
    assert headless_engine("unity", "/x/love") == "unity"
    assert headless_engine(True, "/x/love") == "sdl"
    assert headless_engine(False, "/x/love") is None


def test_unknown_engine_names_the_known_ones():
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"headless='unty': choose one of unity, "):
        headless_engine("unty", "/x/game")
