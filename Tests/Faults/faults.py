"""The faults of servers and of PostgreSQL. Each is a row of docs/reliability.md."""
import asyncio
import dataclasses
import signal
import time
import typing

from installation import POLL, happens
from running import SLOWNESS

FAULTS = []


class Wrong(Exception):
    """Something else happened than what is expected."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One row: what is done, and what has to follow beside the ledger."""

    name: str
    expected: str
    run: typing.Callable
    loses_commits: bool = False
    needs_root: bool = False


def fault(name, expected, **options):
    def add(function):
        FAULTS.append(Fault(name, expected, function, **options))
        return function
    return add


def demand(is_true, otherwise):
    if not is_true:
        raise Wrong(otherwise)


async def listens_again(servers, limit):
    """Waits until the listener of each server receives notifications, and returns the seconds."""
    begin = time.monotonic()
    for server in servers:
        await happens(f"{server.name} listens", server.is_listening, limit * SLOWNESS)
    return time.monotonic() - begin


@fault("none", "each transition arrives by its notification")
async def none(world, cohort):
    await cohort.load(5)
    for server in world.servers:
        demand(await server.is_listening(), f"{server.name} does not listen")
    return ""


@fault("a server gets SIGKILL, and starts again after 3 s", "its clients continue at the other servers")
async def server_killed(world, cohort):
    server = world.servers[0]
    streams = await server.metric("therapybridge_streams_open")
    demand(streams > 0, "the server that was to be killed had no stream")
    server.kill()
    await cohort.load(3)
    await server.start()
    await cohort.load(1)
    return f"{streams:.0f} streams were cut"


@fault("the backends of all listeners are terminated", "the listeners connect again; the poll serves meanwhile")
async def listener_terminated(world, cohort):
    ports = [str(port) for server in world.servers for link in server.links for port in link.client_ports]
    ended = world.sql(
        f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE client_port IN ({','.join(ports)})")[0][0]
    demand(int(ended) == len(world.servers), f"{ended} listeners were found")
    begin = time.monotonic()
    await cohort.load(0.2)
    await listens_again(world.servers, 10)
    seconds = time.monotonic() - begin
    await cohort.load(2)
    return f"all listen again within {seconds:.1f} s"


@fault("all backends are terminated, five times", "reports are repeated and acknowledged")
async def backends_terminated(world, cohort):
    ended = 0
    for _ in range(5):
        ended += int(world.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")[0][0])
        await cohort.load(0.7)
    await listens_again(world.servers, 10)
    await cohort.load(1)
    return f"{ended} connections were ended"


async def restart_of_postgres(world, cohort, how):
    world.primary.stop(how)
    await cohort.load(2)
    begin = time.monotonic()
    not_ready = await asyncio.gather(*(server.readiness() for server in world.servers))
    asked = time.monotonic() - begin
    demand(list(not_ready) == [503] * len(world.servers), f"readiness without a database was {not_ready}")
    # A request waits 5 s for the database. A load balancer does not wait that long for this answer.
    demand(asked < 2 * SLOWNESS, f"readiness without a database took {asked:.1f} s")
    await asyncio.to_thread(world.primary.start)
    begin = time.monotonic()
    for server in world.servers:
        await happens(f"{server.name} is ready", server.is_ready)
    await cohort.acknowledges()
    seconds = time.monotonic() - begin
    await listens_again(world.servers, 15)
    return f"readiness is 503 within {asked:.1f} s meanwhile; ready and reporting {seconds:.1f} s after PostgreSQL answers"


@fault("PostgreSQL restarts (fast)", "streams stay open; readiness is 503 until PostgreSQL answers")
async def postgres_fast(world, cohort):
    return await restart_of_postgres(world, cohort, signal.SIGINT)


@fault("PostgreSQL crashes (immediate shutdown), and recovers", "no acknowledged report is lost; the rest as above")
async def postgres_immediate(world, cohort):
    return await restart_of_postgres(world, cohort, signal.SIGQUIT)


@fault("PostgreSQL is frozen for 8 s (SIGSTOP of all its processes)", "streams stay open; reports get 503 or wait")
async def postgres_frozen(world, cohort):
    world.primary.signal_all(signal.SIGSTOP)
    try:
        await cohort.load(8)
    finally:
        world.primary.signal_all(signal.SIGCONT)
    _, seconds = await cohort.acknowledges()
    await listens_again(world.servers, 15)
    return f"each reporter is acknowledged {seconds:.1f} s after that"


@fault("a server is frozen for 10 s (SIGSTOP)", "its clients miss the heartbeat, and continue at other servers")
async def server_frozen(world, cohort):
    server = world.servers[1]
    server.process.send_signal(signal.SIGSTOP)
    try:
        await cohort.load(10)
    finally:
        server.process.send_signal(signal.SIGCONT)
    await happens(f"{server.name} is ready", server.is_ready)
    await listens_again([server], 30)
    return ""


@fault("the network between one listener and PostgreSQL swallows all packets for 30 s",
       f"the poll finds each change within {POLL} s; the listener notices, and listens again")
async def listener_blackholed(world, cohort):
    server = world.servers[2]
    found = await server.metric("therapybridge_backstop_delivered_total")
    for link in server.links:
        link.freeze()
    try:
        async def has_noticed():
            return not await server.is_listening()
        noticed = (await happens("the server notices that its listener is deaf", has_noticed, 15 + 3 * SLOWNESS))[1]
        await cohort.load(max(0, 30 - noticed))
    finally:
        for link in server.links:
            link.thaw()
    seconds = await listens_again([server], 20)
    found = await server.metric("therapybridge_backstop_delivered_total") - found
    demand(found > 0, "the poll found nothing")
    return f"noticed after {noticed:.1f} s; the poll found {found:.0f} changes; listens again {seconds:.1f} s after the network is back"


@fault("nginx gets SIGKILL, and starts again", "all clients continue")
async def proxy_killed(world, cohort):
    world.stop_nginx()
    await cohort.load(1)
    world.start_nginx()
    await happens("nginx answers", world.proxy_answers)
    await cohort.load(2)
    return ""


@fault("one of three servers has `CHANGE_SOURCE=poll`", f"its clients get each change within {POLL} s, the others at once")
async def poll_beside_notify(world, cohort):
    server = world.servers[0]
    server.process.terminate()
    status = await server.ends()
    demand(status == 0, f"the server ended with {status}")
    await server.start(CHANGE_SOURCE="poll")
    # Clients move on their own only when a connection ends.
    world.stop_nginx()
    world.start_nginx()
    await happens("nginx answers", world.proxy_answers)
    await cohort.load(6)
    streams = await server.metric("therapybridge_streams_open")
    demand(streams > 0, "the server without a listener had no stream")
    server.process.terminate()
    await server.ends()
    await server.start()
    await cohort.load(1)
    return f"{streams:.0f} streams at that server"
