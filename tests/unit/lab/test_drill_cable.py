"""The cable between Workspaces and Configuration Servers: carries bytes, is cut, is mended at the same port."""

import asyncio

import pytest

from stayline.lab.drill_cut import Cable
from stayline.link.bootstrap import Node


async def hung_up(reader: asyncio.StreamReader) -> bool:
    """Whether the other end is gone: in order, or by a reset."""
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


def test_a_cable_carries_is_cut_and_is_mended() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        cable = Cable(
            [Node(application="Config_A", host="127.0.0.1", port=server.sockets[0].getsockname()[1])]
        )
        await cable.join()
        (address,) = cable.addresses
        assert address.application == "Config_A"
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        await cable.cut()
        assert await hung_up(reader)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(address.host, address.port)
        await cable.join()
        assert cable.addresses == [address]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        writer.close()
        await cable.cut()
        server.close()

    asyncio.run(asyncio.wait_for(scene(), 20.0))


def test_a_cable_to_a_server_that_is_away_hangs_up() -> None:
    async def scene() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        cable = Cable([Node(application="Config_A", host="127.0.0.1", port=port)])
        await cable.join()
        (address,) = cable.addresses
        reader, writer = await asyncio.open_connection(address.host, address.port)
        assert await hung_up(reader)
        writer.close()
        await cable.cut()

    asyncio.run(asyncio.wait_for(scene(), 20.0))
