"""What comes over the wire, or out of the database, is data: nothing that ships can turn it into code."""

import ast
from collections.abc import Iterator

import pytest

from tests.packaging.test_imports import PACKAGES, imports, modules

MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle", "yaml", "code", "codeop", "xml", "lxml"}
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
METHODS = {
    ("os", "system"), ("os", "popen"), ("subprocess", "getoutput"), ("subprocess", "getstatusoutput"), ("asyncio", "create_subprocess_shell"), ("tempfile", "mktemp"),
}  # fmt: skip


def dangers(tree: ast.Module) -> Iterator[str]:
    """What a module must not do, by line."""
    for imported in imports(tree):
        if imported.partition(".")[0] in MODULES:
            yield f"imports {imported}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id in CALLS:
            yield f"line {node.lineno} calls {function.id}"
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and (function.value.id, function.attr) in METHODS:
            yield f"line {node.lineno} calls {function.value.id}.{function.attr}"
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
                yield f"line {node.lineno} starts a shell"


def test_nothing_that_ships_turns_data_into_code() -> None:
    wrong = [f"{name}: {danger}" for package in PACKAGES for name, tree in modules(package) for danger in dangers(tree)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from yaml import load",
        "eval(x)",
        "exec(x)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "run(x, shell=y)",
        "import os\nos.system(x)",
        "__import__(x)",
    ],
)
def test_the_check_finds_what_it_is_for(text: str) -> None:
    assert list(dangers(ast.parse(text)))
