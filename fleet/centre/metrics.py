"""A window into a centre, over HTTP: /metrics for Prometheus, /healthz, /livez and /readyz for whoever restarts it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vreid.fleet.centre.status import Counts, RegionStatus
from vreid.runtime.metrics_server import Answer, MetricsPage, MetricsServer, json_answer

Look = Callable[[], Mapping[str, RegionStatus]]
# of `Counts`, what is counted besides the outcomes of messages: name and help
_OTHER_COUNTS = {
    "doubtful": ("vreid_centre_doubts", "Sightings that may be of another vehicle too."),
    "conflicts": ("vreid_centre_conflicts", "Sightings of a box's vehicle whose last one was another vehicle's here."),
    "identities": ("vreid_centre_identities", "Identities that the log has acknowledged."),
    "pictures": ("vreid_centre_pictures", "Pictures that came into the gallery."),
    "bad_pictures": ("vreid_centre_pictures_refused", "Pictures that were not what they should be."),
    "erased": ("vreid_centre_erased", "Removed sightings overwritten in the log and the object store."),
}


class CentreMonitor(MetricsServer):
    """A process that waits for a lease is healthy, and ready to take over; so is one whose servers are away, since no restart of
    it brings them back: /healthz says what it misses."""

    def __init__(self, look: Look, address: str, hosts: Sequence[str] = ()) -> None:
        """As `MetricsServer`; raises Refused."""
        self._look = look
        self._metrics = MetricsPage(_Collector(look))
        super().__init__(self._answers, address, hosts)

    def _answers(self, path: str, accept: str) -> Answer | None:
        match path:
            case "/metrics":
                return self._metrics.answer(accept)
            case "/healthz" | "/livez" | "/readyz":
                regions = {
                    name: {"epoch": one.epoch, "fault": one.fault, "wrong_clocks": list(one.wrong_clocks)}
                    for name, one in self._look().items()
                }
                return json_answer(200, {"healthy": True, "regions": regions})
        return None


class _Collector(Collector):
    def __init__(self, look: Look) -> None:
        self._look = look

    def describe(self) -> list[Metric]:
        """Nothing, so that a status is only made when somebody scrapes."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families of every region."""
        regions = self._look()
        gauges = (
            ("vreid_centre_epoch", "The epoch in which this process resolves the region; 0: it does not.", "epoch"),
            ("vreid_centre_log_behind", "Messages that wait in the log.", "behind"),
            ("vreid_centre_lag_seconds", "How old the last message was when it was resolved.", "lag_s"),
        )
        for name, text, field in gauges:
            family = GaugeMetricFamily(name, text, labels=["region"])
            for region, status in regions.items():
                family.add_metric([region], float(getattr(status, field) or 0))
            yield family
        yield _messages(regions)
        for field, (name, text) in _OTHER_COUNTS.items():
            counter = CounterMetricFamily(name, text, labels=["region"])
            for region, status in regions.items():
                counter.add_metric([region], float(getattr(status.counts, field)))
            yield counter
        yield _pairs(
            GaugeMetricFamily, regions, "vreid_centre_waiting", "What waits in the gallery.", "what", "waiting"
        )
        text = "Seconds by which a box's clock is ahead of the log's."
        yield _pairs(GaugeMetricFamily, regions, "vreid_centre_clock_ahead_seconds", text, "box", "clocks")
        text = "Passes in which the region could not be compared with another one."
        yield _pairs(CounterMetricFamily, regions, "vreid_centre_not_compared", text, "other", "not_compared")


def _messages(regions: Mapping[str, RegionStatus]) -> Metric:
    """By what became of them."""
    family = CounterMetricFamily("vreid_centre_messages", "Messages that were resolved.", labels=["region", "outcome"])
    outcomes = [each.name for each in fields(Counts) if each.name not in _OTHER_COUNTS]
    for region, status in regions.items():
        for outcome in outcomes:
            family.add_metric([region, outcome], float(getattr(status.counts, outcome)))
    return family


def _pairs(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    regions: Mapping[str, RegionStatus],
    name: str,
    text: str,
    label: str,
    field: str,
) -> Metric:
    family = kind(name, text, labels=["region", label])
    for region, status in regions.items():
        for key, value in getattr(status, field).items():
            family.add_metric([region, key], float(value))
    return family
