"""The brokers `redis://` and `rediss://`: kombu's transport, so that a worker survives a broken connection.

With kombu 5.7.0, a channel that waits for messages is not closed if its connection is broken. Celery closes it a second
time, when its connection settings are already gone, and a worker that is running a task ends with `AttributeError`.
"""

from __future__ import annotations

from contextlib import suppress

from kombu.transport import redis
from redis.exceptions import RedisError


class Channel(redis.Channel):
    """Is closed at the first call, even if Redis does not respond."""

    def close(self) -> None:
        """Close the channel, and return its messages to their queues if Redis responds."""
        with suppress(RedisError, OSError):
            super().close()  # stops waiting, then closes; or fails to stop
        super().close()


class Transport(redis.Transport):
    """The transport."""

    Channel = Channel
