"""Connections that a run can freeze: a TCP proxy between the servers and PostgreSQL."""
import asyncio


class Link:
    """Carries connections to a port. While it is frozen, bytes go nowhere, and no end learns of it, as behind a dead router."""

    def __init__(self, target):
        self.target, self.port, self.server = target, None, None
        # The ports of its connections to the target, by which PostgreSQL knows them.
        self.flows, self.tasks, self.client_ports = asyncio.Event(), set(), set()
        self.flows.set()

    async def start(self):
        self.server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def freeze(self):
        self.flows.clear()

    def thaw(self):
        self.flows.set()

    async def carry(self, reader, writer):
        await self.flows.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        tasks = {asyncio.create_task(self.pump(reader, far_writer)), asyncio.create_task(self.pump(far_reader, writer))}
        client_port = far_writer.get_extra_info("sockname")[1]
        self.client_ports.add(client_port)
        self.tasks |= tasks
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self.tasks -= tasks
        self.client_ports.discard(client_port)
        for end in (writer, far_writer):
            end.close()

    async def pump(self, reader, writer):
        try:
            while piece := await reader.read(65536):
                await self.flows.wait()
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass

    async def close(self):
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
