"""Who may import whom: every import statement of the project is read and held against one table."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"headrace_proto": "protos", "headrace_client": "client", "headrace_agent": "agent", "headrace_pytest": "agent", "headrace_broker": "broker"}
OURS = {
    "headrace_proto": set(),
    "headrace_client": {"headrace_proto"},
    "headrace_agent": {"headrace_client", "headrace_proto"},
    "headrace_pytest": {"headrace_agent", "headrace_client"},
    "headrace_broker": {"headrace_proto"},
}
THIRD_PARTY = {
    "headrace_proto": {"google", "grpc"},
    "headrace_client": {"google", "grpc", "opentelemetry"},
    "headrace_client.cli": {"google", "grpc", "opentelemetry", "asyncpg", "cryptography", "cyclopts", "rich"},
    "headrace_agent": {"google", "grpc", "uvloop", "msgspec", "prometheus_client"},
    "headrace_pytest": {"pytest"},
    "headrace_broker": {
        "google",
        "grpc",
        "grpc_health",
        "grpc_reflection",
        "asyncpg",
        "argon2",
        "uvloop",
        "prometheus_client",
        "pydantic",
        "jinja2",
        "markupsafe",
        "starlette",
        "structlog",
        "uvicorn",
        "jsonschema_rs",
        "aiosmtplib",
        "httpx",
        "cronsim",
        "cryptography",
        "jwt",
        "apprise",
    },
}  # fmt: skip
PURE = {"cronsim"}
"""What the model may import beside the standard library: it reads no clock and does no input or output."""
BROKER_LAYERS = {
    "model": set(),
    "store": {"model", "metrics"},
    "shards": {"model", "store", "metrics", "passes"},
    "actions": {"model", "store", "shards", "passes"},
    "maintenance": {"model", "store", "shards", "metrics"},
    "alerts": {"model", "store", "shards", "metrics"},
    "rpc": {"model", "store", "shards", "actions", "alerts", "metrics"},
    "oidc": {"model", "config"},
    "web": {"model", "store", "shards", "actions", "alerts", "oidc", "config"},
}
ONLY_IN = {
    "aiosmtplib": {"alerts"},
    "apprise": {"alerts"},
    "httpx": {"alerts", "oidc"},
    "jwt": {"oidc"},
    "asyncpg": {"store", "shards", "app", "parts", "commands"},
    "grpc": {"rpc"},
    "headrace_proto": {"rpc"},
}
"""Third parties that only some parts of the broker may touch; the others name asyncpg's errors, or its pool."""
NO_WIRE = {"headrace_proto.terminal"}
"""Of headrace_proto, what knows nothing of the wire: commands, logs and pages show text alike."""


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    """(dotted name, tree) of all modules of a package, generated ones left out."""
    folder = ROOT / PACKAGES[package]
    for path in sorted((folder / package).rglob("*.py")):
        if "_pb2" not in path.name:
            yield ".".join(path.relative_to(folder).with_suffix("").parts), ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[str]:
    """Everything that a module imports, dotted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_packages_import_only_what_the_table_allows() -> None:
    wrong = []
    for package in PACKAGES:
        for name, tree in modules(package):
            third = THIRD_PARTY["headrace_client.cli" if name.startswith("headrace_client.cli") else package]
            for imported in imports(tree):
                top = imported.partition(".")[0]
                if top not in sys.stdlib_module_names and top != package and top not in OURS[package] | third:
                    wrong.append(f"{name} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_nothing_in_the_library_imports_the_command_line() -> None:
    for name, tree in modules("headrace_client"):
        if not name.startswith("headrace_client.cli"):
            used = [imported for imported in imports(tree) if imported.startswith("headrace_client.cli.")]
            assert not used, f"{name} imports {used}"


def test_layers_of_the_broker_import_one_way() -> None:
    wrong = []
    for name, tree in modules("headrace_broker"):
        parts = name.split(".")
        layer = parts[1] if len(parts) > 1 else ""
        for imported in imports(tree):
            other = imported.split(".")
            if other[0] == "headrace_broker" and len(other) > 1 and layer in BROKER_LAYERS and other[1] != layer and other[1] not in BROKER_LAYERS[layer]:
                wrong.append(f"{name} imports {imported}")
            if layer == "model" and other[0] not in sys.stdlib_module_names | PURE and not imported.startswith("headrace_broker.model"):
                wrong.append(f"{name} imports {imported}: the model knows the standard library and cron's calendar only")
            if other[0] in ONLY_IN and layer not in ONLY_IN[other[0]] and ".".join(other[:2]) not in NO_WIRE:
                wrong.append(f"{name} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_the_model_never_reads_a_clock_or_chance() -> None:
    for name, tree in modules("headrace_broker"):
        if name.startswith("headrace_broker.model."):
            assert not {imported.partition(".")[0] for imported in imports(tree)} & {"time", "random", "asyncio", "os"}, name


def test_sql_stands_in_files_of_its_own() -> None:
    queries = ROOT / "broker" / "headrace_broker" / "store" / "sql" / "queries"
    used = "\n".join(path.read_text() for path in (ROOT / "broker").rglob("*.py"))
    for path in queries.glob("*.sql"):
        assert f'"{path.stem}"' in used, f"{path.name} is used by nobody"
        assert path.read_text().startswith("--"), f"{path.name} has no header"
    for name, tree in modules("headrace_broker"):
        if name.startswith("headrace_broker.store"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = node.value.lower().split()
                assert not (words[:1] in (["select"], ["insert"], ["update"], ["delete"]) and {"from", "into", "set"} & set(words[:6])), f"{name} holds SQL"
