"""What keeps the manager closed."""

from tests.mutants.mutant import Mutant

WEB = "broker/headrace_broker/web"
TESTS = "tests/web/test_manager.py"
JOB = "tests/web/test_job_page.py"
LISTS = "tests/web/test_lists.py"
PAGES = "tests/unit/test_pages.py"
FAILING = "tests/web/test_failing.py"
REDACTION = "broker/headrace_broker/model/redaction.py"

MUTANTS = (
    Mutant("what has no answer is waited for", f"{WEB}/failing.py", "asyncio.wait({task}, timeout=limit_s)", "asyncio.wait({task})", f"{FAILING} -k given_up"),
    Mutant("secrets that were typed are shown again", f"{WEB}/failing.py", '"" if kind == "secret" else value', "value", f"{FAILING} -k secrets"),
    Mutant("a form that is refused is not kept", f"{WEB}/manager.py", "visit.session.returned = kept", "pass", f"{FAILING} -k refused"),
    Mutant(
        "what a broker that stands by has to say is lost",
        f"{WEB}/manager.py",
        "session is None or not (session.notices or session.returned)",
        "True",
        f"{TESTS} -k stands_by",
    ),
    Mutant(
        "a page needs no session",
        f"{WEB}/register.py",
        "        if found is not None or not value:\n            return found\n",
        '        if True:\n            return Session(Person("x", 5), b"", 0.0, 0.0)\n',
        f"{TESTS} -k without_a_session",
    ),
    Mutant("a link is good twice", f"{WEB}/sessions.py", "self._links.pop(known)", "self._links[known]", f"{TESTS} -k begins_one"),
    Mutant("a form needs no token", f"{WEB}/manager.py", "if not session.key or not hmac.compare_digest(", "if not session.key and not (", f"{TESTS} -k needs_the_form"),
    Mutant("a form may come from elsewhere", f"{WEB}/manager.py", " if same_origin(request) else FormData()", "", f"{TESTS} -k needs_the_form"),
    Mutant("stored text is not escaped", f"{WEB}/render.py", "autoescape=True", "autoescape=False", f"{TESTS} -k others_stored"),
    Mutant("pages may be cached", f"{WEB}/browser.py", '    "Cache-Control": "no-store",\n', "", f"{TESTS} -k headers_are_strict"),
    Mutant("numbers are rounded", REDACTION, "parse_int=Written, parse_float=Written", "parse_int=float, parse_float=float", f"{PAGES} -k as_they_were_written"),
    Mutant("secret fields are shown", REDACTION, "                if is_secret(name, secret):", "                if False:", f"{PAGES} -k secret_fields"),
    Mutant(
        "a secret is only masked where its whole name is one",
        REDACTION,
        "any(part in short for part in secret)",
        "short in secret",
        f"{PAGES} -k secret_fields",
    ),
    Mutant(
        "text with a secret field is shown", f"{WEB}/documents.py", "if secret and any(name in squeezed(text) for name in secret):", "if False:", f"{PAGES} -k told_apart"
    ),
    Mutant("a tree has no bound", f"{WEB}/documents.py", "    if room[0] <= 0:\n        return False\n", "", f"{PAGES} -k bounded"),
    Mutant("a text has no bound", f"{WEB}/documents.py", "    if self._room < 0:\n", "    if False:\n", f"{PAGES} -k bounded"),
    Mutant(
        "what was searched for is not escaped",
        f"{WEB}/job_log.py",
        'Markup("<mark>{}</mark>").format(harmless(match[0]))',
        'Markup(f"<mark>{match[0]}</mark>")',
        f"{PAGES} -k escaped",
    ),
    Mutant("log lines steer a page", f"{WEB}/job_log.py", "return escape(harmless(text))", "return escape(text)", f"{PAGES} -k steers_text"),
    Mutant("payloads steer a page", f"{WEB}/documents.py", "return harmless_json(quoted(text))", "return quoted(text)", f"{PAGES} -k steers_text"),
    Mutant("what others wrote steers a page", f"{WEB}/render.py", "return harmless(value) if type(value) is str else value", "return value", f"{JOB} -k steers_no_page"),
    Mutant("fields of forms hold escapes", f"{WEB}/render.py", "extensions=[FieldsAsTheyAre]", "extensions=[]", f"{PAGES} -k as_it_is"),
    Mutant(
        "a circle of jobs is not drawn",
        f"{WEB}/drawing.py",
        "depth[job_id] if job_id in done else below",
        "depth[job_id] if job_id in done else None",
        f"{PAGES} -k circle",
    ),
    Mutant("a change of a job needs no reason", f"{WEB}/forms.py", "if required and not said:", "if False:", f"{JOB} -k every_form"),
    Mutant("a viewer sees secrets", f"{WEB}/job.py", "tuple(secrets(job.type))", "()", f"{JOB} -k no_secrets"),
    Mutant("a payload that is not JSON is taken", f"{WEB}/job_changes.py", "return forms.json_bytes(", "return text.encode() or forms.json_bytes(", f"{JOB} -k not_json"),
    Mutant("a text may hold NUL", f"{WEB}/forms.py", 'if "\\x00" in value:', "if False:", f"{JOB} -k nonsense"),
    Mutant(
        "a part of a page takes the notices", f"{WEB}/manager.py", "if session is not None and not part else []", "if session is not None else []", f"{JOB} -k notice"
    ),
    Mutant("a part is sent again and again", f"{WEB}/parts.py", 'if digest == visit.query("seen"):', "if False:", f"{JOB} -k not_changed"),
    Mutant("a graph has no bound", f"{WEB}/job_graph.py", "            if len(jobs) < MOST:\n", "            if True:\n", f"{JOB} -k is_bounded"),
    Mutant(
        "a change leads to wherever it is told",
        f"{WEB}/visit.py",
        'if not ours or not target.path.startswith(self.prefix + "/") or',
        "if",
        "tests/web/test_schedules.py -k leads_nowhere",
    ),
    Mutant(
        "a page back shows the same again",
        f"{WEB}/jobs.py",
        "job.row.job_id if order is Order.NEWEST_FIRST else",
        "job.row.job_id + 1 if order is Order.NEWEST_FIRST else",
        f"{LISTS} -k both_ends",
    ),
    Mutant(
        "a priority that the page sets scores nothing anew",
        f"{WEB}/types.py",
        'if "priority" in values or "priority" in clear:',
        "if False:",
        f"{LISTS} -k setting_would_do",
    ),
    Mutant(
        "all jobs are meant by an empty filter",
        f"{WEB}/operations.py",
        'if wanted == JobFilter() and visit.field("all_jobs") != "true":',
        "if False:",
        "tests/web/test_operations.py -k only_by_name",
    ),
    Mutant(
        "a form that is sent twice starts two operations",
        f"{WEB}/operations.py",
        'request_id=forms.text("request_id", visit.field("request_id"), 100)',
        'request_id=""',
        "tests/web/test_operations.py -k done_once",
    ),
    Mutant("what takes no job is offered for chosen ones", f"{WEB}/templates/chosen.html", "{% if taking or completed %}", "{% if true %}", f"{LISTS} -k chosen"),
    Mutant(
        "what takes no job is offered for a filter",
        f"{WEB}/templates/operation_new.html",
        "{% if operator and of_use %}",
        "{% if operator and found.matched %}",
        "tests/web/test_operations.py -k done_once",
    ),
    Mutant("an address without a page has no page", "broker/headrace_broker/app.py", "nothing=manager.nothing, ", "", f"{TESTS} -k without_a_page"),
    Mutant(
        "the payload's version is called that of the broker",
        f"{WEB}/job_data.py",
        '"payload_version": version',
        '"payload_version": version, "version": version',
        f"{JOB} -k version_below",
    ),
    Mutant(
        "a schedule's numbers are written anew",
        f"{WEB}/schedules.py",
        "return written(parse(data)).encode()",
        "return __import__('json').dumps(__import__('json').loads(data), ensure_ascii=False, separators=(',', ':')).encode()",
        "tests/web/test_schedules.py -k as_it_was_written",
    ),
    Mutant("a schedule takes what is no JSON", f"{WEB}/schedules.py", '    forms.check_json("payload", data)\n', "", "tests/web/test_schedules.py -k as_it_was_written"),
    Mutant(
        "a page with two slashes leads to another host",
        f"{WEB}/visit.py",
        ' or target.path.startswith(("//", "/\\\\")):',
        ":",
        "tests/web/test_schedules.py -k leads_nowhere",
    ),
    Mutant(
        "an address that is none is an error",
        f"{WEB}/browser.py",
        "    except ValueError:\n",
        "    except ZeroDivisionError:\n",
        "tests/unit/test_login.py -k none_are_nobodys",
    ),
    Mutant(
        "a form that comes in chunks has no bound",
        f"{WEB}/browser.py",
        '"transfer-encoding" in request.headers or ',
        "",
        "tests/web/test_hostile_http.py -k no_longer",
    ),
    Mutant("a form may come in any encoding", f"{WEB}/browser.py", "        return FormData()\n", "        pass\n", "tests/web/test_hostile_http.py -k no_longer"),
    Mutant("old script and style serve a new version", f"{WEB}/browser.py", '"Cache-Control": "no-cache", ', "", f"{TESTS} -k script_and_style"),
    Mutant("a name leads a browser elsewhere", f"{WEB}/addresses.py", 'return UPWARD.sub("%2F", path)', "return path", f"{PAGES} -k leads_a_browser"),
    Mutant(
        "a name that leads elsewhere is taken",
        "broker/headrace_broker/actions/schedules.py",
        'fields.new_name("name", name)',
        "pass",
        "tests/web/test_schedules.py -k something_else",
    ),
    Mutant("errors of jobs are told to who sees none", f"{WEB}/types.py", "if not types_for(Act.VIEW).allow(entry.name):", "if False:", f"{LISTS} -k oversees"),
    Mutant(
        "an operation goes by another time than was shown",
        f"{WEB}/operations.py",
        "query | {bound: sent[bound] for bound in BOUNDS}",
        "query",
        "tests/web/test_operations.py -k stand_still",
    ),
    Mutant(
        "all of IPv4 is one address",
        f"{WEB}/guesses.py",
        "if isinstance(known, IPv6Address) and known.ipv4_mapped is not None:",
        "if False:",
        "tests/unit/test_login.py -k told_apart",
    ),
    Mutant("a table holds formulas", f"{WEB}/statistics.py", 'name.startswith(("=", "+", "-", "@", "\\t", "\\r"))', "False", f"{PAGES} -k formulas"),
    Mutant(
        "the form for a new user changes one that is there",
        f"{WEB}/access.py",
        'if visit.field("invite") and any(',
        "if False and any(",
        "tests/web/test_schedules.py -k invited_changed",
    ),
)
