"""What keeps the manager closed."""

from tests.mutants.mutant import Mutant

WEB = "broker/headrace_broker/web"
TESTS = "tests/web/test_manager.py"

MUTANTS = (
    Mutant(
        "a page needs no session",
        f"{WEB}/sessions.py",
        "            return None\n        if used:",
        '            return Session(Person("x", Role.ADMIN), 0, 0)\n        if used:',
        f"{TESTS} -k without_a_session",
    ),
    Mutant("a link is good twice", f"{WEB}/sessions.py", "self._links.pop(known)", "self._links[known]", f"{TESTS} -k begins_one"),
    Mutant("a form needs no token", f"{WEB}/manager.py", 'form.get("csrf") != session.csrf', "False", f"{TESTS} -k needs_the_form"),
    Mutant("a form may come from elsewhere", f"{WEB}/manager.py", "if not same_origin(request) or form", "if form", f"{TESTS} -k needs_the_form"),
    Mutant("stored text is not escaped", f"{WEB}/render.py", "autoescape=True", "autoescape=False", f"{TESTS} -k others_stored"),
    Mutant("pages may be cached", f"{WEB}/manager.py", '    "Cache-Control": "no-store",\n', "", f"{TESTS} -k headers_are_strict"),
)
