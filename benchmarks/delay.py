"""A TCP proxy, in its own process, that delays a store's answers."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def delayed(host: str, port: int, seconds: float) -> Iterator[str]:
    """The base URL of a proxy to ``host:port`` that delays every request by ``seconds``."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(host, port, seconds, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(host, port, seconds, pipe) -> None:
    async def carry(reader, writer, pause):
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(pause)
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()

    async def accept(reader, writer):
        up_reader, up_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(carry(reader, up_writer, seconds), carry(up_reader, writer, 0))

    async def serve():
        server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=256)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
