"""`headrace-broker`: run, migrate, shards, token, config, doctor, version."""

import argparse
import sys
from collections.abc import Sequence

from headrace_broker import __version__
from headrace_broker.config import ConfigError, add_options, read
from headrace_broker.model.access import Role
from headrace_broker.model.ids import SHARDS as MOST_SHARDS


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command; exit code 0 done, 1 failed, 2 wrong options."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "version":
        print(__version__)
        return
    try:
        config = read(arguments)
        if arguments.command == "config":
            print("\n".join(config.lines()))
            return
        from headrace_broker.commands import call  # what it imports is not waited for by who asks for a version or the options

        sys.exit(call(arguments, config))
    except ConfigError as error:
        print("\n".join(f"headrace-broker: {line}" for line in str(error).splitlines()), file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="headrace-broker", description="The broker of headrace: owns a job queue in Postgres and leases jobs to agents.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_ in (
        ("run", "serve until told to stop"),
        ("migrate", "bring the database to this version's schema"),
        ("shards", "show the shards of the queue, or set how many there are"),
        ("token", "make a token in the database itself, such as the first one"),
        ("config", "print the options in force and where each came from"),
        ("doctor", "check the surroundings"),
    ):
        command = commands.add_parser(name, help=help_, description=help_)
        add_options(command)
        if name == "migrate":
            command.add_argument("--dry-run", action="store_true", help="only list what is missing")
            command.add_argument("--phase", choices=["pre", "post", "all"], default="all", help="pre: what only adds; post: what takes away (default: both)")
            command.add_argument("--roles", action="store_true", help="make the roles of least privilege too")
            command.add_argument("--print", action="store_true", dest="print_sql", help="print the SQL of all migrations, and connect to nothing")
        if name == "shards":
            told = f"1 to {MOST_SHARDS}: how many there are from now on; no broker may run meanwhile"
            command.add_argument("number", nargs="?", type=_number_of_shards, metavar="NUMBER", help=told)
            command.add_argument("--dry-run", action="store_true", help="do everything, and then undo it")
        if name == "doctor":
            command.add_argument("-o", "--output", choices=["text", "json"], default="text", help="how to print what was found (default: text)")
        if name == "token":
            command.add_argument("action", choices=["create"])
            command.add_argument("name", help="its name, which the audit shows")
            command.add_argument("--role", choices=[role.name.lower() for role in Role], default="admin", help="what it may do (default: admin)")
            command.add_argument("--domain", help="the domain it is for (default: all domains)")
            command.add_argument("--expires-in-s", type=float, help="seconds until it ends (default: never)")
    commands.add_parser("version", help="print the version")
    return parser


def _number_of_shards(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_SHARDS):
        raise argparse.ArgumentTypeError(f"a queue has 1 to {MOST_SHARDS} shards, found {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
