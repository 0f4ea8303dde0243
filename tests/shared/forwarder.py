"""Copies bytes between one listening port and another port until it is killed.

Usage: forwarder.py LISTEN_PORT TARGET_PORT
"""

import asyncio
import contextlib
import sys

HOST = "127.0.0.1"
BUF_LEN = 64 * 1024


async def copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(BUF_LEN):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(listen_port, target_port):
    async def forward(reader, writer):
        target_reader, target_writer = await asyncio.open_connection(HOST, target_port)
        await asyncio.gather(copy(reader, target_writer), copy(target_reader, writer))

    server = await asyncio.start_server(forward, HOST, listen_port)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
