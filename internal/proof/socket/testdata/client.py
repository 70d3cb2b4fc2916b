"""Speaks to an echo server: python3 client.py ws://ADDRESS forgets|keeps|plain"""

import asyncio
import random
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

where, how = sys.argv[1:]
random.seed(1)

# What the client offers, and whether compression is then agreed on.
offers = {
    "none": None,
    "usual": ClientPerMessageDeflateFactory(client_max_window_bits=True),
    "forget": ClientPerMessageDeflateFactory(
        server_no_context_takeover=True, client_no_context_takeover=True
    ),
    "narrow": ClientPerMessageDeflateFactory(
        server_max_window_bits=9, client_max_window_bits=10
    ),
}


def messages():
    for size in (0, 1, 125, 126, 127, 65535, 65536, 1_000_000):
        yield "ü" * (size // 2)
        yield bytes(random.getrandbits(8) for _ in range(min(size, 70_000)))
    for i in range(100):
        yield '{"room": %d, "text": "something that is said again and again"}' % i


async def speak(name, factory):
    async with websockets.connect(
        where,
        compression=None,
        extensions=[factory] if factory else None,
        subprotocols=["chat.v9", "chat.v1"],
        max_size=None,
        open_timeout=50,
        close_timeout=50,
    ) as c:
        agreed = bool(c.extensions)
        assert agreed == (how != "plain" and factory is not None), (name, c.extensions)
        assert c.subprotocol == "chat.v1", c.subprotocol
        for m in messages():
            await c.send(m)
            assert await c.recv() == m, name
        await c.send(["in ", "three ", "fragments"])
        assert await c.recv() == "in three fragments"
        await asyncio.wait_for(await c.ping(b"are you there"), 50)
        # Many at once, so that both directions are full.
        large = [bytes([i]) * 100_000 for i in range(50)]
        sender = asyncio.ensure_future(asyncio.gather(*(c.send(m) for m in large)))
        assert sorted([await c.recv() for _ in large]) == sorted(large)
        await sender
        await c.close(4001, "enough")
    assert (c.close_code, c.close_reason) == (4001, ""), (c.close_code, c.close_reason)


async def refused():
    """The server refuses text that is none."""
    async with websockets.connect(where, compression=None, open_timeout=50) as c:
        c.transport.write(bytes([0x81, 0x81, 0, 0, 0, 0, 0xFF]))
        try:
            await c.recv()
        except websockets.ConnectionClosedError:
            pass
    assert c.close_code == 1007, c.close_code


async def main():
    for name, factory in offers.items():
        await speak(name, factory)
    await refused()
    print("well")


asyncio.run(main())
