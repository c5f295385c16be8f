"""The agent of this client: see `../agent.md`."""

import asyncio
import json
import sys
import time

import signalbox

KINDS = {
    signalbox.RefusedError: "refused",
    signalbox.DisconnectedError: "disconnected",
    signalbox.QueueFullError: "queue-full",
    signalbox.UnknownOutcomeError: "unknown",
    signalbox.OverError: "over",
    signalbox.ConnectError: "connect",
}
NAMES = {
    signalbox.Joined: "joined",
    signalbox.ConnectionCreated: "created",
    signalbox.ConnectionDestroyed: "destroyed",
    signalbox.ConnectionInterrupted: "interrupted",
    signalbox.ConnectionRestored: "restored",
    signalbox.SignalReceived: "signal",
    signalbox.Reconnecting: "reconnecting",
    signalbox.Reconnected: "reconnected",
    signalbox.Disconnected: "disconnected",
}


def tell(what: dict) -> None:
    print(json.dumps(what), flush=True)


def failed(number: int, error: signalbox.SignalboxError) -> None:
    refusal = getattr(error, "refusal", None)
    tell({"id": number, "error": {"kind": KINDS[type(error)], "reason": refusal.reason if refusal else ""}})


def event_of(event: signalbox.Event) -> dict:
    told = {"event": NAMES[type(event)]}
    match event:
        case signalbox.SignalReceived():
            told |= {"type": event.type, "data": event.data, "from": event.from_connection_id}
        case signalbox.ConnectionCreated():
            told |= {"connection": event.connection.connection_id, "data": event.connection.data}
        case signalbox.ConnectionDestroyed():
            told |= {"connection": event.connection_id, "reason": event.reason.name}
        case signalbox.ConnectionInterrupted() | signalbox.ConnectionRestored():
            told |= {"connection": event.connection_id}
        case signalbox.Reconnected():
            told |= {"connection": event.connection.connection_id, "gap": event.gap}
        case signalbox.Disconnected():
            told |= {"action": event.action.name, "reason": event.refusal.reason if event.refusal else ""}
    if (sequence := getattr(event, "sequence", None)) is not None:
        told["sequence"] = sequence
    return told


async def tell_events(session: signalbox.Session) -> None:
    async for event in session:
        tell(event_of(event))


async def join(asked: dict) -> signalbox.Session:
    tokens, lasts = list(asked.get("tokens") or []), asked.get("lasts")

    def token(session_id: str) -> signalbox.Token:
        bearer = tokens.pop(0) if len(tokens) > 1 else tokens[0]
        return signalbox.Token(bearer, time.time() + lasts if lasts else None)

    client = signalbox.Client(
        asked["endpoints"],
        token=token if tokens else None,
        back_off=(0.02, 0.5),
        connect_timeout=5,
        give_up_after=asked.get("give_up_after", 20),
    )
    return await client.join(
        asked["session"],
        connection_data=asked.get("data", ""),
        resume_window=asked.get("window", 30),
        signal_types=asked.get("types", ()),
        suppress_connection_events=asked.get("suppress_connection_events", False),
        suppress_own_signals=asked.get("suppress_own_signals", False),
        queue=tuple(asked.get("queue", (1_024, 1 << 20))),
    )


async def outcome(number: int, sent: asyncio.Future) -> None:
    try:
        accepted = await sent
        tell({"id": number, "ok": {"sequence": accepted.sequence, "not_connected": list(accepted.not_connected_ids)}})
    except signalbox.SignalboxError as error:
        failed(number, error)


async def leave(number: int, session: signalbox.Session) -> None:
    await session.leave()
    tell({"id": number, "ok": {}})


async def main() -> None:
    session = None
    tasks = set()

    def spawn(work) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        asked = json.loads(line)
        number = asked["id"]
        match asked["do"]:
            case "join":
                try:
                    session = await join(asked)
                    tell({"id": number, "ok": {"connection": session.connection_id}})
                    spawn(tell_events(session))
                except signalbox.SignalboxError as error:
                    failed(number, error)
            case "signal":
                sent = session.signal(
                    asked.get("data", ""),
                    type=asked.get("type", ""),
                    to=asked.get("to"),
                    retry_after_reconnect=asked.get("retry", True),
                )
                spawn(outcome(number, sent))
            case "disconnect":
                spawn(outcome(number, session.force_disconnect(asked["connection"])))
            case "connections":
                there = session.connections
                tell(
                    {
                        "id": number,
                        "ok": [
                            {"connection": one.connection_id, "data": one.data, "interrupted": one.interrupted}
                            for one in there
                        ],
                    }
                )
            case "leave":
                spawn(leave(number, session))


if __name__ == "__main__":
    asyncio.run(main())
