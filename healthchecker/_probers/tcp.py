"""The probe for tcp:// targets: healthy when something accepts the connection."""

from __future__ import annotations

from healthchecker._net.deadline import Deadline
from healthchecker._options import CheckOptions
from healthchecker._probers.prober import Healthy, Prober, Progress, connect
from healthchecker._target import Target


class TcpProber(Prober):
    """Connects and closes; no byte is sent."""

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target.label)
        self._endpoint = target.endpoint
        self._options = options

    def _ask(self, deadline: Deadline, progress: Progress) -> Healthy:
        connect(self._endpoint, self._options, deadline, progress).close()
        return Healthy(status=None, detail="connected")
