"""What the pages of health show: is it well, and what does it count?

Rule 1: no label holds what a peer wrote: only directions, reasons from a list, and
addresses that were given to this bridge. So there are as many series as were meant.
"""

import os
import time
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from rlay.bridge.health import MAX_LAG_S, Probes, Report
from rlay.bridge.metrics import STEP_BOUNDS_S, StepTimes
from rlay.transport.slot_channel import SlotGeometry
from rlay.transport.software import VERSION

if TYPE_CHECKING:
    from rlay.bridge.program import Bridge
    from rlay.bridge.session import Session

_COUNTED: Final = {
    "rlay_steps": ("messages", "Messages, or parts of them, that went out", "dir"),
    "rlay_dropped_frames": ("dropped", "Frames that were of no use any more", "reason"),
    "rlay_reconnects": ("reconnects", "Links that ended", "reason"),
    "rlay_env_lost": ("env_lost", "Environments elsewhere that were lost", "executed"),
    "rlay_closed": ("closed", "Sessions that ended", "reason"),
    "rlay_auth_failures": ("auth_failures", "Peers that proved nothing", "reason"),
    "rlay_protocol_errors": ("protocol_errors", "Links that broke rules", "kind"),
}
"""Counters with a label: where they are counted, what they mean, and the label."""

_STATES: Final = ("free", "waiting", "stepping", "link_down")


def probes_of(bridge: "Bridge") -> Probes:
    """Return what the pages of a bridge show."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BridgeCollector(bridge))
    ProcessCollector(registry=registry)
    return Probes(
        alive=lambda: _alive(bridge),
        ready=lambda: _ready(bridge),
        metrics=lambda: (CONTENT_TYPE_LATEST, generate_latest(registry)),
    )


def _alive(bridge: "Bridge") -> Report:
    lag_s = bridge.lag_s
    late = f"the loop was {lag_s:.1f} s late" if lag_s >= MAX_LAG_S else ""
    return Report(late, {"loop_lag_s": lag_s})


def _ready(bridge: "Bridge") -> Report:
    registry = bridge.registry
    problem = ""
    if registry.draining:
        problem = "it drains, and takes no new sessions"
    elif bridge.settings.listen and not bridge.listeners:
        problem = "it does not listen yet"
    elif not os.access(registry.root, os.W_OK | os.X_OK):
        problem = f"{registry.root} cannot be written, so no mirror can be made"
    facts: dict[str, Any] = {
        "listening": [listener.address for listener in bridge.listeners],
        "links": len(registry.links),
        "shared": len(registry.origins),
        "mirrored": len(registry.mirrors),
        # Not a problem of ours, so no reason to restart this bridge.
        "down": {
            dialer.where: dialer.problem for dialer in bridge.dialers if dialer.problem
        },
    }
    return Report(problem, facts)


class BridgeCollector(Collector):
    """Reads a bridge's numbers when it is asked for them."""

    def __init__(self, bridge: "Bridge") -> None:
        """Read this bridge's."""
        self._bridge = bridge

    def collect(self) -> Iterator[Metric]:
        """Return all of them."""
        yield from self._states()
        yield from self._sessions()
        yield from self._links()
        counts = self._bridge.registry.counts
        for name, (attribute, text, label) in _COUNTED.items():
            family = CounterMetricFamily(name, text, labels=[label])
            for reason, count in getattr(counts, attribute).items():
                family.add_metric([reason], count)
            yield family
        for name, number, text in (
            ("rlay_sessions", counts.sessions, "Sessions that were opened"),
            ("rlay_resumes", counts.resumes, "Sessions that a new link took up again"),
            ("rlay_replays", counts.replays, "Messages that were sent again"),
            ("rlay_stale_replies", counts.stale_replies, "Replies that came too late"),
        ):
            yield CounterMetricFamily(name, text, value=number)
        yield _step_seconds(counts.step_times)

    def _states(self) -> Iterator[Metric]:
        bridge, registry = self._bridge, self._bridge.registry
        info = GaugeMetricFamily("rlay_build_info", "Its version", labels=["version"])
        info.add_metric([VERSION], 1)
        yield info
        channels = GaugeMetricFamily("rlay_channels", "Channels", labels=["kind"])
        channels.add_metric(["shared"], len(registry.origins))
        channels.add_metric(["mirrored"], len(registry.mirrors))
        yield channels
        for name, number, text in (
            (
                "rlay_uptime_seconds",
                time.monotonic() - bridge.started_at,
                "Since start",
            ),
            ("rlay_loop_lag_seconds", bridge.lag_s, "How late the loop was"),
            ("rlay_draining", int(registry.draining), "Whether it shuts down"),
            (
                "rlay_strangers",
                sum(listener.strangers for listener in bridge.listeners),
                "Connections that have not proved yet who they are",
            ),
        ):
            yield GaugeMetricFamily(name, text, value=number)

    def _sessions(self) -> Iterator[Metric]:
        """Look at the channels now: nothing is counted while messages go by."""
        found = dict.fromkeys(_STATES, 0)
        slots_bytes = 0
        for holder in self._bridge.registry.holders():
            session = holder.session
            found[_state_of(session)] += 1
            if session is not None:
                slots_bytes += SlotGeometry(*session.capacities).file_bytes
        states = GaugeMetricFamily("rlay_env_state", "Channels", labels=["state"])
        for state, count in found.items():
            states.add_metric([state], count)
        yield states
        text = "Memory of the slots of all sessions"
        yield GaugeMetricFamily("rlay_slot_bytes", text, value=slots_bytes)

    def _links(self) -> Iterator[Metric]:
        bridge, registry = self._bridge, self._bridge.registry
        up = GaugeMetricFamily(
            "rlay_link_up", "Whether a dialed address is linked", labels=["address"]
        )
        for dialer in bridge.dialers:
            up.add_metric([dialer.where], 0 if dialer.problem else 1)
        yield up
        links = GaugeMetricFamily("rlay_links", "Links that are up", labels=["kind"])
        for kind, dialed in (("dialed", True), ("accepted", False)):
            found = [link for link in registry.links if link.dialed is dialed]
            links.add_metric([kind], len(found))
        yield links
        trips = GaugeMetricFamily(
            "rlay_link_round_trip_seconds",
            "Of the last heartbeats over a dialed link",
            labels=["address", "quantile"],
        )
        for link in registry.links:
            for quantile in (0.5, 0.99):
                trip_s = link.counts.round_trip_s(quantile)
                if link.dialed and trip_s is not None:
                    trips.add_metric([link.where, str(quantile)], trip_s)
        yield trips
        volume = CounterMetricFamily("rlay_bytes", "Over all links", labels=["dir"])
        counts = registry.counts
        sent = sum(link.stream.sent for link in bridge.links)
        received = sum(link.stream.got for link in bridge.links)
        volume.add_metric(["sent"], counts.bytes_sent + sent)
        volume.add_metric(["received"], counts.bytes_received + received)
        yield volume


def _state_of(session: "Session | None") -> str:
    if session is None:
        return "free"
    if session.link is None:
        return "link_down"
    return "stepping" if session.busy else "waiting"


def _step_seconds(times: StepTimes) -> Metric:
    """Return the histogram; Prometheus counts from below, each with those before."""
    bounds = [*map(str, STEP_BOUNDS_S), "+Inf"]
    buckets = list(zip(bounds, accumulate(times.counts), strict=True))
    return HistogramMetricFamily(
        "rlay_step_seconds",
        "From a request that went out to its reply",
        buckets=buckets,
        sum_value=times.total_s,
    )
