"""The probe for tcp:// targets: healthy when something accepts the connection."""

from __future__ import annotations

from healthchecker._deadline import Deadline
from healthchecker._options import CheckOptions
from healthchecker._prober import Healthy, Prober, connect
from healthchecker._target import Target


class TcpProber(Prober):
    """Connects and closes; no byte is sent."""

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target.shown_as)
        self._endpoint = target.endpoint
        self._options = options

    def _ask(self, deadline: Deadline) -> Healthy:
        connect(self._endpoint, self._options, deadline, None).close()
        return Healthy(status=None, detail="connected")
