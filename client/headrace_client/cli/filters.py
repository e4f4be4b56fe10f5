"""`headrace filters`: what to look for among jobs, kept under a name for oneself or for everybody in the domain."""

from dataclasses import replace
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace_client.admin import AdminClient
from headrace_client.cli.common import UNITS, Common, Reason, read_age, run_admin
from headrace_client.cli.find import TIMES, Find, options
from headrace_client.cli.output import Output, errors
from headrace_client.filters import SavedFilter
from headrace_client.models import Order

app = App(name="filters")
Name = Annotated[str, Parameter(help="name of the filter: letters without accents, digits, . _ - and spaces")]
Shared = Annotated[bool, Parameter(negative="", help="the one that everybody in the domain has; without it your own")]


@app.command(name="list")
def list_filters(*, common: Common | None = None) -> int:
    """List your saved filters, and those that everybody in the domain has."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_filters()
        if output.form != "table":
            output.rows(found, [])
            return
        rows = [
            {
                "name": one.name, "whose": "everybody's" if one.shared else "yours", "looks_for": " ".join(words(one)), "version": one.version,
                "saved_by": one.saved_by, "saved_at": one.saved_at, "problem": one.problem,
            }
            for one in found
        ]  # fmt: skip
        problem = ["problem"] if any(one.problem for one in found) else []
        output.rows(rows, ["name", "whose", "looks_for", "version", "saved_by", "saved_at", *problem], empty="there are no saved filters")

    return run_admin(common or Common(), command)


@app.command
def show(name: Name, *, shared: Shared = False, common: Common | None = None) -> int:
    """Show a saved filter: your own, or else the one that everybody has."""

    async def command(client: AdminClient, output: Output) -> int:
        found = next((one for one in await client.list_filters() if one.name == name and (one.shared or not shared)), None)
        if found is None:
            errors.print(f"headrace: no saved filter {name!r}; `headrace filters list` shows those that are")
            return 3
        _show(found, output)
        return 0

    return run_admin(common or Common(), command)


@app.command
def save(
    name: Name,
    *,
    find: Find | None = None,
    order: Annotated[Order, Parameter(help="in which jobs are listed: newest or oldest first; score: waiting jobs, the highest first")] = Order.NEWEST,
    shared: Annotated[bool, Parameter(negative="", help="for everybody in the domain; without it for you alone")] = False,
    replace_: Annotated[int, Parameter(name="--replace", validator=Number(gte=0), help="the version of this name that it takes the place of, as `list` shows it")] = 0,
    reason: Reason = "",
    common: Common | None = None,
) -> int:
    """Keep a filter under a name. Ages such as 24h stay ages: they move along with the time of use."""
    wanted = find or Find()
    ages = {bound: age_s for bound in TIMES if (text := getattr(wanted, bound)) is not None and (age_s := read_age(text)) is not None}
    fixed: dict[str, Any] = dict.fromkeys(ages)
    where = replace(wanted, **fixed).filter()

    async def command(client: AdminClient, output: Output) -> None:
        _show(await client.save_filter(name, where, ages=ages, order=order, shared=shared, replaces=replace_, reason=reason), output)

    return run_admin(common or Common(), command)


@app.command
def delete(name: Name, *, shared: Shared = False, reason: Reason = "", common: Common | None = None) -> int:
    """Delete a saved filter."""

    async def command(client: AdminClient, output: Output) -> None:
        await client.delete_filter(name, shared=shared, reason=reason)
        errors.print(f"the saved filter {name} is deleted")

    return run_admin(common or Common(), command)


def _show(one: SavedFilter, output: Output) -> None:
    said = {"name": one.name, "whose": "everybody's" if one.shared else "yours", "looks_for": " ".join(words(one))}
    output.one(one if output.form != "table" else {**said, **{name: getattr(one, name) for name in ("version", "saved_by", "saved_at", "problem")}})


def words(one: SavedFilter) -> list[str]:
    """What a saved filter looks for, as the options that would say so."""
    return [*options(one.where), *(f"--{bound.replace('_', '-')} {_age(age_s)}" for bound, age_s in one.ages.items()), *_order(one.order)]


def _order(order: Order) -> list[str]:
    return [] if order is Order.NEWEST else [f"--order {order}"]


def _age(age_s: float) -> str:
    """In the largest unit that says it in whole numbers."""
    unit = next((unit for unit in reversed(UNITS) if age_s % UNITS[unit] == 0), "") if age_s else "s"
    return f"{age_s / UNITS[unit]:.0f}{unit}" if unit else f"{age_s:.6f}s"
