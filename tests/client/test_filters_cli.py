"""Saved filters on the command line, and what takes the place of options with them."""

import pytest
from headrace_client import Client, State

from tests.client.test_lifecycle_cli import Shell
from tests.support.processes import BrokerProcess


@pytest.fixture
def shell(broker: BrokerProcess) -> Shell:
    return Shell(broker.address)


async def test_a_filter_is_saved_listed_shown_used_replaced_and_deleted(shell: Shell, client: Client) -> None:
    north, south = [str((await client.submit(type_, labels={"shop": shop})).job_id) for type_, shop in (("order.sync", "north"), ("order.send", "south"))]
    options = ["--type", "order.sync", "--type", "order.send", "--state", "waiting", "--created-from", "2h", "--created-to", "2036-01-31", "--order", "oldest"]
    made = await shell.json("save", "to do", *options, "--reason", "every morning", group="filters")
    assert (made["name"], made["ages"], made["order"], made["where"]["created_from"]) == ("to do", {"created_from": 7200.0}, "oldest", None)
    assert [row["job_id"] for row in await shell.json("list", "--saved", "to do")] == [north, south], "in the order that is saved"
    assert [row["job_id"] for row in await shell.json("list", "--saved", "to do", "--order", "newest")] == [south, north]
    assert [row["job_id"] for row in await shell.json("list", "--saved", "to do", "--label", "shop=south")] == [south]
    assert [row["job_id"] for row in await shell.json("list", "--saved", "to do", "--type", "order.sync")] == [north], "an option takes the place of what is saved"
    assert await shell.json("list", "--saved", "to do", "--state", "error") == []
    assert (await shell.json("count", "--saved", "to do"))["totals"] == {"waiting": 2}
    said = "--type order.sync --type order.send --state waiting --created-to 2036-01-31T00:00:00Z --created-from 2h --order oldest"
    assert said in " ".join((await shell("show", "to do", group="filters")).split())
    assert "yours" in await shell("list", group="filters")
    assert "replace that version" in await shell("save", "to do", "--state", "error", group="filters", code=4)
    again = await shell.json("save", "to do", "--state", "waiting", "--type", "order.send", "--replace", str(made["version"]), group="filters")
    assert [row["name"] for row in await shell.json("list", group="filters")] == ["to do"] and again["version"] != made["version"]
    assert await shell.json("save", "everybody", "--instance", "i", "--shared", group="filters")
    told = await shell("list", "-o", "jsonl", group="filters")
    assert len(told.splitlines()) == 2 and '"shared": true' in told.splitlines()[1]
    operation = await shell.json("abort", "--saved", "to do", "--yes", "--wait", group="bulk")
    assert operation["done"] == 1 and (await client.get(int(south))).state is State.ABORTED and (await client.get(int(north))).state is State.WAITING
    await shell("delete", "to do", group="filters")
    await shell("delete", "everybody", "--shared", group="filters")
    assert await shell.json("list", group="filters") == []


async def test_what_is_not_there_or_makes_no_sense_is_told(shell: Shell, client: Client) -> None:
    assert "no saved filter 'late'" in await shell("list", "--saved", "late", code=3)
    assert "no saved filter 'late'" in await shell("purge", "--saved", "late", "--yes", group="bulk", code=3)
    for words in (("show", "late"), ("delete", "late"), ("delete", "late", "--shared"), ("save", "late", "--state", "error", "--replace", "7")):
        assert "late" in await shell(*words, group="filters", code=3)
    assert "no job type 'nobody.made.it'" in await shell("save", "late", "--type", "nobody.made.it", group="filters", code=4)
    assert "it is empty" in await shell("save", "late", group="filters", code=4)
    assert "is not a time" in await shell("save", "late", "--created-from", "soon", group="filters", code=2)
