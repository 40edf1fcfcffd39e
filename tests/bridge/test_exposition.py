"""What the pages of health say of a bridge in each state, without one."""

from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rlay.bridge.exposition import probes_of
from rlay.bridge.metrics import Counts, LinkCounts
from rlay.bridge.settings import BridgeSettings
from rlay.protocol.addresses import Endpoint
from rlay.transport.slot_channel import SlotGeometry

ENDPOINT = Endpoint("127.0.0.1", 7450)


@pytest.fixture
def bridge(tmp_path):
    """As much of a bridge as the pages look at; it is well."""
    counts = LinkCounts()
    counts.round_trips_s.append(0.25)
    link = SimpleNamespace(
        dialed=True,
        where="sim:7450",
        counts=counts,
        stream=SimpleNamespace(sent=10, got=20),
    )
    registry = SimpleNamespace(
        root=str(tmp_path),
        draining=False,
        counts=Counts(),
        origins={"a": 1},
        mirrors={},
        links=[link],
        holders=list,
    )
    return SimpleNamespace(
        settings=BridgeSettings(listen=(ENDPOINT,)),
        registry=registry,
        links=[link],
        listeners=[SimpleNamespace(address="127.0.0.1:7450", strangers=3)],
        dialers=[SimpleNamespace(where="sim:7450", problem="")],
        lag_s=0.0,
        started_at=0.0,
    )


def numbers(bridge):
    """Samples by name and labels, as Prometheus itself reads them."""
    kind, text = probes_of(bridge).metrics()
    assert kind.startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_bridge_that_is_well_is_alive_and_ready(bridge):
    """With what it does."""
    probes = probes_of(bridge)
    assert probes.alive().problem == ""
    assert probes.ready().problem == ""
    assert probes.ready().facts["links"] == 1


@pytest.mark.parametrize(
    ("lag_s", "alive"), [(0.99, True), (1.0, False), (30.0, False)]
)
def test_loop_that_is_late_is_not_alive(bridge, lag_s, alive):
    """By a second: whoever restarts it may."""
    bridge.lag_s = lag_s
    assert (probes_of(bridge).alive().problem == "") is alive


def test_bridge_that_drains_is_alive_but_not_ready(bridge):
    """So that nobody kills it while it lets requests be answered."""
    bridge.registry.draining = True
    assert probes_of(bridge).alive().problem == ""
    assert "drains" in probes_of(bridge).ready().problem


def test_bridge_that_does_not_listen_yet_is_not_ready(bridge):
    """Where it should; one that only dials need not."""
    bridge.listeners = []
    assert "does not listen" in probes_of(bridge).ready().problem
    bridge.settings = BridgeSettings(connect=(ENDPOINT,))
    assert probes_of(bridge).ready().problem == ""


def test_directory_that_cannot_be_written_is_not_ready(bridge, monkeypatch):
    """No mirror could be made in it."""
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be written" in probes_of(bridge).ready().problem
    assert probes_of(bridge).alive().problem == ""


def test_link_that_is_down_is_a_fact_and_no_problem(bridge):
    """A restart would not bring the other machine back."""
    bridge.registry.links, bridge.dialers[0].problem = [], "nobody listens there"
    report = probes_of(bridge).ready()
    assert report.problem == ""
    assert report.facts["down"] == {"sim:7450": "nobody listens there"}
    assert numbers(bridge)["rlay_link_up", "sim:7450"] == 0


def test_numbers_are_those_of_the_bridge(bridge):
    """Each under its name, with its label; bytes of links that are gone included."""
    counts = bridge.registry.counts
    counts.messages["request"] = 5
    counts.closed["vanished"] = 2
    counts.auth_failures["AuthError"] = 4
    counts.env_lost["unknown"] = 3
    counts.stale_replies = 6
    counts.bytes_sent = 100
    counts.resumes = 7
    counts.step_times.add(0.003)
    counts.step_times.add(100.0)
    found = numbers(bridge)
    assert found["rlay_steps_total", "request"] == 5
    assert found["rlay_closed_total", "vanished"] == 2
    assert found["rlay_auth_failures_total", "AuthError"] == 4
    assert found["rlay_env_lost_total", "unknown"] == 3
    assert found["rlay_stale_replies_total",] == 6
    assert found["rlay_bytes_total", "sent"] == 110
    assert found["rlay_bytes_total", "received"] == 20
    assert found["rlay_resumes_total",] == 7
    assert found["rlay_channels", "shared"] == 1
    assert found["rlay_strangers",] == 3
    assert found["rlay_link_round_trip_seconds", "0.5", "sim:7450"] == 0.25
    assert found["rlay_step_seconds_bucket", "0.0025"] == 0
    assert found["rlay_step_seconds_bucket", "0.005"] == 1
    assert found["rlay_step_seconds_bucket", "60.0"] == 1
    assert found["rlay_step_seconds_bucket", "+Inf"] == 2
    assert found["rlay_step_seconds_sum",] == pytest.approx(100.003)


def test_channels_are_counted_by_state_with_the_memory_of_their_slots(bridge):
    """As they are when somebody asks; no name of a channel is a label."""
    capacities = (4096, 8192)
    link = bridge.links[0]
    sessions = [
        None,
        SimpleNamespace(link=link, busy=False, capacities=capacities),
        SimpleNamespace(link=link, busy=True, capacities=capacities),
        SimpleNamespace(link=None, busy=True, capacities=capacities),
    ]
    held = [SimpleNamespace(session=session) for session in sessions]
    bridge.registry.holders = lambda: held
    found = numbers(bridge)
    for state in ("free", "waiting", "stepping", "link_down"):
        assert found["rlay_env_state", state] == 1
    assert found["rlay_slot_bytes",] == 3 * SlotGeometry(*capacities).file_bytes
