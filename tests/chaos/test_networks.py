"""Networks that drop packets without telling anybody, in one direction or both: between agent and broker, client and broker, broker and Postgres; and lines that delay.

Each is a network namespace with a link to this machine, whose packets go to an address that nobody has: connections stay half open, and only silence tells.
"""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from headrace_client import Client, State

from tests.support import needs
from tests.support.netns import Link, Namespace, namespace
from tests.support.processes import start_agent, start_broker, until
from tests.support.proxy import Proxy
from tests.support.scene import Scene
from tests.support.servers import Server, server
from tests.support.verdict import read_starts

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
WAYS = ["both", "from-there", "from-here"]
Record = Callable[[str, object], None]


@pytest.fixture
def space() -> Iterator[Namespace]:
    """A network of its own."""
    needs.network_namespaces()
    with namespace() as made:
        yield made


def drop(link: Link, way: str) -> None:
    """Drops what is sent on the link, in one direction or both."""
    if way != "from-here":
        link.drop_from_there()
    if way != "from-there":
        link.drop_from_here()


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_behind_a_network_that_drops(way: str, space: Namespace, database: str, directory: Path, stack: AsyncExitStack, record_property: Record) -> None:
    """The far agent stops its handlers before their jobs begin elsewhere; when the network heals it works on."""
    link = space.link()
    broker = await start_broker(directory, "--listen", f"{link.here}:0", "--insecure", "--log-level", "warning", database=database)
    stack.push_async_callback(broker.kill)
    far = await start_agent(directory, str(broker.ready["grpc"][1]), "--slots", "30", name="far", wrap=space.wrap)
    stack.push_async_callback(far.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    held = (await client.submit("gate", "open")).job_id
    await _starts(directory, held, 1)
    near = await start_agent(directory, broker.address, "--slots", "30", name="near")
    stack.push_async_callback(near.kill)
    scene = Scene(broker.address, directory)
    stack.push_async_callback(scene.stop)
    await scene.start()
    drop(link, way)

    async def given_up() -> bool:
        return "not renewed" in far.log.read_text()

    await until(given_up, what="leases that the far agent gives up")
    await scene.acknowledged(100)
    link.heal()
    await scene.acknowledged(100)
    await _starts(directory, held, 2)
    first, second = read_starts(directory / "ran.txt")[held][:2]
    assert first.end == "stopped" and first.end_at <= second.at + 0.001, "it ran in both places"
    (directory / "open").touch()
    assert (await client.wait(held, timeout_s=20)).state is State.COMPLETED
    verdict = await scene.end(database, f"an agent behind a network that drops ({way})", others=True)
    record_property("jobs", verdict.jobs)
    assert verdict.side_by_side == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_behind_a_network_that_drops(way: str, space: Namespace, database: str, directory: Path, stack: AsyncExitStack, record_property: Record) -> None:
    """The submitters are here, and the broker with its agent behind the link: they are told the truth."""
    link = space.link()
    broker = await start_broker(directory, "--insecure", "--log-level", "warning", "--http-listen", "off", database=database, listen=f"{link.there}:0", wrap=space.wrap)
    stack.push_async_callback(broker.kill)
    agent = await start_agent(directory, broker.address, "--slots", "30", "--log-level", "error", wrap=space.wrap)
    stack.push_async_callback(agent.kill)
    scene = Scene(broker.address, directory)
    stack.push_async_callback(scene.stop)
    await scene.start()
    for _ in range(3):
        drop(link, way)
        await scene.refused(20)
        link.heal()
        await scene.acknowledged(50)
    verdict = await scene.end(database, f"clients behind a network that drops ({way})")
    record_property("jobs", verdict.jobs)


@pytest.fixture
def reachable(space: Namespace, directory: Path) -> Iterator[tuple[Server, Link]]:
    """A server that also listens on a link."""
    link = space.link()
    with server(directory / "data") as made:
        made.configure(listen_addresses=link.here)
        with open(made.data_dir / "pg" / "pg_hba.conf", "a") as file:
            file.write(f"\nhost all all {link.there}/32 trust\n")
        made.restart()
        yield made, link


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("standby", [False, True], ids=["alone", "with-standby"])
async def test_a_broker_behind_a_network_that_drops(
    way: str, standby: bool, space: Namespace, reachable: tuple[Server, Link], directory: Path, stack: AsyncExitStack, record_property: Record
) -> None:
    """Its link to Postgres drops; clients and agents reach it by another one. A standby takes over; without one, the broker says so until it heals."""
    made, database_link = reachable
    clients_link = space.link()
    dsn = f"postgresql://headrace@{database_link.here}:5432/headrace"
    broker = await start_broker(
        directory, "--insecure", "--log-level", "warning", "--http-listen", "off", database=dsn, listen=f"{clients_link.there}:0", wrap=space.wrap, name="far"
    )
    stack.push_async_callback(broker.kill)
    brokers = [broker.address]
    if standby:
        other = await start_broker(directory, "--log-level", "warning", database=made.dsn, name="standby")
        stack.push_async_callback(other.kill)
        brokers.append(other.address)
    agent = await start_agent(directory, ",".join(brokers), "--slots", "30", "--log-level", "error")
    stack.push_async_callback(agent.kill)
    scene = Scene(",".join(brokers), directory)
    stack.push_async_callback(scene.stop)
    await scene.start()
    con = await asyncpg.connect(made.dsn)
    stack.push_async_callback(con.close)
    life = await _owner(con)
    drop(database_link, way)
    if standby:

        async def taken() -> bool:
            return await _owner(con) != life

        await until(taken, what="the takeover")
        await scene.acknowledged(100)
    else:
        await scene.refused(30)
    database_link.heal()
    await scene.acknowledged(100, timeout_s=90)
    verdict = await scene.end(made.dsn, f"a broker whose database is behind a network that drops ({way}{', with a standby' if standby else ''})")
    record_property("jobs", verdict.jobs)


async def test_lines_that_delay_by_chance(database: str, directory: Path, stack: AsyncExitStack, record_property: Record) -> None:
    """Every connection has delays of its own that change all the time, so what is sent over two of them arrives in any order."""
    broker = await start_broker(directory, "--log-level", "warning", database=database)
    stack.push_async_callback(broker.kill)
    proxies = [await stack.enter_async_context(Proxy(broker.address)) for _ in range(3)]
    for number, proxy in enumerate(proxies):
        proxy.to_server.jitter_s, proxy.to_client.jitter_s = (0.4, 0.05) if number % 2 else (0.05, 0.4)
    for number, proxy in enumerate(proxies[:2]):
        agent = await start_agent(directory, proxy.address, "--slots", "20", "--log-level", "error", name=f"agent{number}")
        stack.push_async_callback(agent.kill)
    scene = Scene(proxies[2].address, directory)
    stack.push_async_callback(scene.stop)
    await scene.start()
    await scene.acknowledged(200)
    for proxy in proxies:
        proxy.cut()
    await scene.acknowledged(200)
    await scene.stop()
    scene.brokers = broker.address
    verdict = await scene.end(database, "lines that delay by chance")
    record_property("jobs", verdict.jobs)
    assert verdict.side_by_side == 0


async def _owner(con: "asyncpg.Connection[object]") -> int:
    return int(await con.fetchval("select life_id from headrace.shard limit 1"))


async def _starts(directory: Path, job_id: int, times: int) -> None:
    async def check() -> bool:
        return len(read_starts(directory / "ran.txt").get(job_id, [])) >= times

    await until(check, what=f"start {times} of job {job_id}")
