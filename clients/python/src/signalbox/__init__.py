"""Session signaling over gRPC: a member of a session that comes back by itself.

    async with await signalbox.Client("http://127.0.0.1:50051").join("demo") as session:
        await session.signal("hello", type="chat")
        async for event in session:
            print(event)
"""

from . import backend, client, errors, events
from .backend import *  # noqa: F403
from .client import *  # noqa: F403
from .errors import *  # noqa: F403
from .events import *  # noqa: F403

__all__ = backend.__all__ + client.__all__ + errors.__all__ + events.__all__
