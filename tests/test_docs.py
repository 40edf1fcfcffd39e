"""The documentation: its links lead somewhere, its programs run, nothing is missing."""

import inspect
import re
import signal
import socket
import sys
import time
from pathlib import Path

import click
import pytest

import rlay
from rlay import errors
from rlay.cli.application import application
from rlay.envs import timeouts
from tests.support.bridge_child import BridgeChild

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
TUTORIAL = ROOT / "docs" / "tutorial"
REFERENCE = ROOT / "docs" / "reference"

# A block with the name of a file in its first line is a program: it is run as it is.
_PROGRAM = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def programs(page):
    """Return the programs of a page by their file names."""
    return dict(_PROGRAM.findall(page.read_text()))


def prose(page):
    """Return a page's text without its blocks and pieces of code."""
    return _CODE.sub("", _FENCED.sub("", page.read_text()))


def anchors(page):
    """Return the anchors of a page's headings."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def reference():
    """Return the text of all pages of reference."""
    return "\n".join(page.read_text() for page in sorted(REFERENCE.glob("*.md")))


def documented_parameters(name):
    """Return the parameters in the first table below a name's heading."""
    page = (REFERENCE / "python.md").read_text()
    section = page.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


# ------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page):
    """Every link within the repository resolves, its anchor too."""
    for link in _LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} in {page.name} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        if anchor:
            assert anchor in anchors(target), f"no heading for {link} in {page.name}"


def test_every_page_of_docs_is_linked_from_another_one():
    """No page can be found by its file name alone."""
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in _LINK.findall(prose(page))
        if "://" not in link
    }
    orphans = [page for page in PAGES if page not in linked and "docs" in page.parts]
    # A link to a directory stands for the pages in it that it lists.
    orphans = [page for page in orphans if page.parent not in linked]
    assert orphans == []


# ---------------------------------------------------------------------------- programs


@pytest.fixture
def start(children, tmp_path):
    """Start a program of a page as a file in a directory of its own."""

    def start_program(page, name):
        (tmp_path / name).write_text(programs(page)[name])
        return children.start_command([sys.executable, name], cwd=tmp_path)

    return start_program


def test_every_program_of_the_readme_is_tested_here():
    """A program that is added to the README must be run below."""
    assert set(programs(ROOT / "README.md")) == {
        "environment.py",
        "algorithm.py",
        "game.py",
        "trainer.py",
    }


def test_readme_client_env_example_plays_five_hundred_steps(start):
    """The two programs find each other, and both end by themselves."""
    page = ROOT / "README.md"
    backend, algorithm = start(page, "environment.py"), start(page, "algorithm.py")
    algorithm.wait()
    backend.wait()
    assert "rewards: 500.0" in algorithm.stdout


def test_readme_server_env_example_walks_to_both_ends(start):
    """The game asks, the trainer decides, and both end by themselves."""
    page = ROOT / "README.md"
    trainer, game = start(page, "trainer.py"), start(page, "game.py")
    trainer.wait()
    game.wait()
    assert "the walk ended at 5.0 with reward 1.0" in trainer.stdout
    assert "the walk ended at -5.0 with reward 0.0" in trainer.stdout


FIRST_PART = TUTORIAL / "1-an-environment-that-answers.md"
SECOND_PART = TUTORIAL / "2-a-game-that-asks.md"
THIRD_PART = TUTORIAL / "3-simulate-on-another-machine.md"


@pytest.fixture
def write(tmp_path):
    """Write every program of a page into one directory, as its reader does."""

    def write_programs(page):
        for name, text in programs(page).items():
            (tmp_path / name).write_text(text)

    return write_programs


def test_tutorial_first_part_prints_what_it_says(children, write, tmp_path):
    """Served, looked at, trained on, spawned: each output stands in the page."""
    write(FIRST_PART)
    serve = [sys.executable, "-m", "rlay", "serve", "corridor:Corridor"]
    children.start_command([*serve, "--name", "corridor"], cwd=tmp_path, forever=True)
    for name in ("look.py", "train.py", "spawned.py"):
        program = children.start_command([sys.executable, name], cwd=tmp_path)
        program.wait()
        assert program.stdout
        assert f"```text\n{program.stdout}```" in FIRST_PART.read_text()


def test_tutorial_second_part_prints_what_it_says(children, write, tmp_path):
    """The game asks, the trainer learns: each output stands in the page."""
    write(SECOND_PART)
    started = [
        children.start_command([sys.executable, name], cwd=tmp_path)
        for name in ("game.py", "trainer.py")
    ]
    for program in started:
        program.wait()
        assert program.stdout
        assert f"```text\n{program.stdout}```" in SECOND_PART.read_text()


@pytest.fixture
def two_machines(children, tmp_path):
    """Two directories, two bridges with token and TLS; starts programs on either."""
    near, far = tmp_path / "trainer", tmp_path / "simulator"
    for machine in (near, far):
        machine.mkdir(0o700)
    rlay_command = [sys.executable, "-m", "rlay"]
    for words in (["token", "new"], ["cert", "new", "--host", "simulator"]):
        children.start_command([*rlay_command, *words], cwd=tmp_path).wait()
    secrets = ["--token-file", tmp_path / "rlay.token"]
    cert, key = tmp_path / "rlay.crt", tmp_path / "rlay.key"
    listens = [*secrets, "--tls-cert", cert, "--tls-key", key, "--directory", far]
    listener = BridgeChild(children, *listens)
    dials = ["--connect", f"localhost:{listener.port}", "--directory", near]
    dials += [*secrets, "--tls-ca", cert]
    children.start_command([*rlay_command, "bridge", *dials], forever=True)

    def start_program(machine, *words, forever=False):
        directory = {"trainer": near, "simulator": far}[machine]
        command = [sys.executable, *words]
        env = {"RLAY_DIR": str(directory), "PYTHONUNBUFFERED": "1"}
        return children.start_command(command, forever=forever, env=env, cwd=tmp_path)

    start_program.listener = listener.child  # type: ignore[attr-defined]
    start_program.port = listener.port  # type: ignore[attr-defined]
    return start_program


SERVE = ["-m", "rlay", "serve", "corridor:Corridor", "--name", "corridor"]


def stands_in(page, text):
    """Whether lines stand in a page, spaces at their ends left out."""
    return "\n".join(line.rstrip() for line in text.splitlines()) in page.read_text()


def test_tutorial_third_part_prints_what_the_first_one_printed(two_machines, write):
    """Behind two bridges the unchanged programs print what both pages say."""
    write(FIRST_PART)
    two_machines("simulator", *SERVE, forever=True)
    for name in ("look.py", "train.py"):
        program = two_machines("trainer", name)
        program.wait(60)
        for page in (FIRST_PART, THIRD_PART):
            assert f"```text\n{program.stdout}```" in page.read_text()


def test_tutorial_third_part_walk_ends_with_the_simulator(two_machines, write):
    """A killed simulator ends the walk with the message of the page."""
    write(FIRST_PART)
    write(THIRD_PART)
    simulator = two_machines("simulator", *SERVE, forever=True)
    walk = two_machines("trainer", "walk.py")
    walk.wait_until_printed("step 2")
    simulator.kill()
    walk.wait()
    message = walk.stdout.splitlines()[-1]
    assert f"\n{message}\n" in THIRD_PART.read_text()


@pytest.mark.timeout(120)
def test_tutorial_third_part_walk_goes_on_after_a_cut(two_machines, write):
    """A bridge that says nothing for a while: the walk waits, and no step is lost."""
    write(FIRST_PART)
    write(THIRD_PART)
    two_machines("simulator", *SERVE, forever=True)
    walk = two_machines("trainer", "walk.py")
    walk.wait_until_printed("step 3")
    listener = two_machines.listener
    listener.send_signal(signal.SIGSTOP)
    time.sleep(3)  # the cut itself
    listener.send_signal(signal.SIGCONT)
    walk.wait(60)
    lines = [line.partition(" after ")[0].strip() for line in walk.stdout.splitlines()]
    assert lines == [f"step {number}: place {number}" for number in range(1, 20)]
    assert " after " in walk.stdout
    assert stands_in(THIRD_PART, "step 3: place 3\nstep 4: place 4 after")


def test_tutorial_third_part_doctor_finds_the_way(two_machines, write):
    """Every stage that the page shows is passed, and there is no other one."""
    write(FIRST_PART)
    two_machines("simulator", *SERVE, forever=True)
    two_machines("trainer", "look.py").wait()  # so the channel is there
    secrets = ["--token-file", "rlay.token", "--tls-ca", "rlay.crt"]
    peer = ["--peer", f"localhost:{two_machines.port}", "--channel", "corridor"]
    doctor = two_machines("trainer", "-m", "rlay", "doctor", *peer, *secrets)
    doctor.wait()
    block = THIRD_PART.read_text().partition("ok       name:")[2].partition("```")[0]
    shown = [line.partition(":")[0] for line in ("ok       name:" + block).splitlines()]
    assert shown == [line.partition(":")[0] for line in doctor.stdout.splitlines()]


def test_every_program_of_the_tutorial_is_tested_here():
    """A program that is added to the tutorial must be run above."""
    parts = {page: set(programs(page)) for page in TUTORIAL.glob("*.md")}
    assert parts == {
        TUTORIAL / "README.md": set(),
        FIRST_PART: {"corridor.py", "look.py", "train.py", "spawned.py"},
        SECOND_PART: {"lander.py", "game.py", "trainer.py"},
        THIRD_PART: {"walk.py"},
    }


def test_guide_of_bad_networks_prints_what_it_says(
    children, channel_directory, tmp_path
):
    """The chain is the same through cuts, as the page says."""
    page = ROOT / "docs" / "guide" / "test-your-setup.md"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = programs(page)["bad_network.py"]
    assert "\nPORT = 7451\n" in text  # here it may be taken
    (tmp_path / "bad_network.py").write_text(text.replace("7451", str(port)))
    temporary = {"TMPDIR": str(channel_directory)}
    command = [sys.executable, "bad_network.py"]
    program = children.start_command(command, cwd=tmp_path, env=temporary)
    program.wait()
    assert f"```text\n{program.stdout}```" in page.read_text()


def test_guide_of_direct_attach_needs_no_second_command(children, tmp_path):
    """Trainer and game find each other, and nothing of the bridge stays."""
    page = ROOT / "docs" / "guide" / "direct-attach.md"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for name, text in programs(page).items():
        assert ":7450" in text  # here it may be taken
        (tmp_path / name).write_text(text.replace("7450", port))
    trainer, game = (
        children.start_command([sys.executable, name], cwd=tmp_path)
        for name in ("trainer.py", "game.py")
    )
    trainer.wait()
    game.wait()
    assert trainer.stdout == f"games may attach to 127.0.0.1:{port}\n" + "".join(
        f"the game is at {place}\n" for place in (1, 2, 3)
    )


# ------------------------------------------------------------------------ completeness


@pytest.mark.parametrize("name", sorted(rlay.__all__))
def test_public_name_is_in_the_reference(name):
    """Everything in ``rlay.__all__`` stands in docs/reference."""
    assert re.search(rf"\b{name}\b", reference())


@pytest.mark.parametrize("name", sorted(errors.__all__))
def test_error_is_in_the_troubleshooting_page(name):
    """Every exception has its row: what it means, and what to do."""
    page = ROOT / "docs" / "guide" / "troubleshooting.md"
    assert f"`{name}`" in page.read_text()


@pytest.mark.parametrize(
    "name",
    [
        "ClientEnv",
        "ClientVectorEnv",
        "ServerEnv",
        "ServerVectorEnv",
        "ServerBackend",
        "ClientBackend",
        "launch",
        "spawn",
    ],
)
def test_every_parameter_is_in_the_reference(name):
    """No parameter of a public class is left out, and none is invented."""
    parameters = set(inspect.signature(getattr(rlay, name)).parameters)
    assert documented_parameters(name) == parameters


@pytest.mark.parametrize("phase", ["connect", "reset", "step", "close"])
def test_default_timeout_in_the_reference_is_the_real_one(phase):
    """The table of time-outs says what the code does."""
    default = getattr(timeouts, f"DEFAULT_{phase.upper()}_S")
    assert f"| `{phase}_timeout` | {default:g} |" in reference()


@pytest.mark.parametrize("layer", ["protocol", "transport", "bridge", "envs"])
def test_architecture_names_the_modules_of_a_layer(layer):
    """The code map has every module, and none that is gone."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.partition(f"### `rlay/{layer}/`")[2].partition("\n#")[0]
    table = "".join(re.findall(r"^\|([^|]*)\|", section, re.MULTILINE))
    modules = {path.stem for path in (ROOT / "rlay" / layer).glob("*.py")}
    assert set(re.findall(r"`(\w+)`", table)) == modules - {"__init__"}


def parameters_of_subcommands(command):
    """Return those of a group's commands."""
    inner = getattr(command, "commands", {})
    return [parameter for each in inner.values() for parameter in each.params]


@pytest.mark.parametrize("name", sorted(application.commands))
def test_options_of_a_command_are_in_the_reference(name):
    """Every option of the command line is documented, in the section of its command."""
    page = (REFERENCE / "command-line.md").read_text()
    head, *sections = page.split("\n## ")
    found = [section for section in sections if section.startswith(f"`rlay {name}")]
    assert len(found) == 1, f"docs/reference has no section for rlay {name}"
    text = found[0]
    if "bridge-settings.md" in text:
        text += (REFERENCE / "bridge-settings.md").read_text()
    command = application.get_command(click.Context(application), name)
    assert command is not None
    for parameter in [*command.params, *parameters_of_subcommands(command)]:
        for option in parameter.opts:
            if option.startswith("-"):
                assert option in text or option in head, f"{name} {option}"


def test_every_environment_variable_is_in_the_reference():
    """What the package reads from the environment is documented."""
    sources = [path.read_text() for path in (ROOT / "rlay").rglob("*.py")]
    found = set(re.findall(r"\bRLAY_[A-Z_]+\b", "\n".join(sources)))
    assert found, "no variable was found: the pattern is wrong"
    missing = {name for name in found if f"`{name}`" not in reference()}
    assert missing == set()
