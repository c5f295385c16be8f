"""A chat in the terminal: `python examples/chat.py demo Ada http://127.0.0.1:50051`."""

import asyncio
import sys

import signalbox


async def read_lines(session: signalbox.Session) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            await session.signal(line.rstrip("\n"), type="chat")
        except signalbox.SignalboxError as error:
            print(f"! {error}")
    await session.leave()


async def main(room: str, name: str = "somebody", url: str = "http://127.0.0.1:50051") -> None:
    session = await signalbox.Client(url).join(room, connection_data=name)
    typing = asyncio.create_task(read_lines(session))
    names = {}
    async for event in session:
        # Who is gone has a name still.
        names.update((one.connection_id, one.data) for one in session.connections)
        match event:
            case signalbox.Joined():
                print(f"in {room} with {', '.join(one.data for one in event.connections)}", flush=True)
            case signalbox.SignalReceived(type="chat"):
                print(f"{names.get(event.from_connection_id, 'the server')}: {event.data}", flush=True)
            case signalbox.ConnectionCreated():
                print(f"* {event.connection.data} joined", flush=True)
            case signalbox.ConnectionDestroyed():
                print(f"* {names.get(event.connection_id)} is gone", flush=True)
            case signalbox.Reconnecting():
                print(f"* reconnecting… ({event.why})", flush=True)
            case signalbox.Reconnected():
                print("* back, with a gap" if event.gap else "* back", flush=True)
            case signalbox.Disconnected():
                print(f"* out: {event.why}", flush=True)
    typing.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
