"""The probe for tcp:// targets: healthy when something accepts the connection."""

from __future__ import annotations

from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._probers.prober import Healthy, Prober, Progress, connect
from healthchecker._target import Scheme


class TcpProber(Prober):
    """Connects and closes; no byte is sent."""

    SCHEMES: ClassVar = {"tcp": Scheme("tcp://HOST:PORT", has_path=False, over_unix_socket=False)}

    def _ask(self, deadline: Deadline, progress: Progress) -> Healthy:
        connect(self._target.endpoint, self._options, deadline, progress).close()
        return Healthy(status=None, detail="connected")
