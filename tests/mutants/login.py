"""Users, passwords, sessions, rights of pages."""

from tests.mutants.mutant import Mutant

WEB = "broker/headrace_broker/web"
ACTIONS = "broker/headrace_broker/actions"
LOGIN = "tests/web/test_login.py"
UNIT = "tests/unit/test_login.py"
USERS = "tests/rpc/test_users.py"
SHARED = "tests/web/test_sessions.py"

MUTANTS = (
    Mutant("any password lets in", f"{ACTIONS}/users.py", "if row is None or not right:", "if row is None:", f"{LOGIN} -k answered_alike"),
    Mutant(
        "a login outlives the change of its password",
        f"{ACTIONS}/users.py",
        "return logged_in if logged_in is not None and logged_in.epoch == row.epoch and logged_in.disabled_at is None else None",
        "return logged_in",
        f"{USERS} -k while_it_was_verified",
    ),
    Mutant("nobody's password is not computed", f"{ACTIONS}/passwords.py", "kept or self._nobodys)", 'kept or "")', f"{UNIT} -k takes_as_long"),
    Mutant("many hashes at once", f"{ACTIONS}/passwords.py", "ThreadPoolExecutor(AT_ONCE, ", "ThreadPoolExecutor(4, ", f"{UNIT} -k bounded_queue"),
    Mutant("hashes wait without bound", f"{ACTIONS}/passwords.py", "if self._inside >= MOST_WAITING:", "if False:", f"{UNIT} -k bounded_queue"),
    Mutant("old costs stay", f"{ACTIONS}/users.py", "self._passwords.is_outdated(row.password):", "False:", f"{USERS} -k renews"),
    Mutant("passwords may be short", f"{ACTIONS}/passwords.py", "if not MIN_CHARACTERS <= length <= MAX_CHARACTERS:", "if False:", f"{UNIT} -k too_short"),
    Mutant(
        "a change of role ends no session", f"{ACTIONS}/users.py", "replace(ending_sessions(row), role=role)", "replace(row, role=role)", f"{LOGIN} -k user_is_disabled"
    ),
    Mutant(
        "a new password ends no session",
        f"{ACTIONS}/users.py",
        "replace(ending_sessions(row), password=kept",
        "replace(row, password=kept",
        f"{LOGIN} -k user_is_disabled",
    ),
    Mutant("sessions are not compared with users", f"{WEB}/register.py", "                session.end()\n", "                pass\n", f"{LOGIN} -k user_is_disabled"),
    Mutant(
        "sessions outlive their token", f"{WEB}/sessions.py", "            session.secret.watchers.add(session.end)\n", "            pass\n", f"{LOGIN} -k token_lets_in"
    ),
    Mutant("tokens of programs log in", f"{WEB}/login.py", "if secret.token.role not in USER_ROLES:", "if False:", f"{LOGIN} -k tokens_of_programs"),
    Mutant(
        "guessing has no limit",
        f"{WEB}/guesses.py",
        "wait_s = max(self._addresses.wait_s(address), self._names.wait_s(name) if name else 0.0)",
        "wait_s = 0.0",
        f"{LOGIN} -k right_one_waits",
    ),
    Mutant("a try counts once it is answered", f"{WEB}/guesses.py", "                self._names.tried(name)\n", "                pass\n", f"{UNIT} -k tries_count"),
    Mutant(
        "a login may come from elsewhere",
        f"{WEB}/login.py",
        '        if not same_origin(request):\n            return self._page(request, 403, "", FOREIGN)\n        form',
        "        form",
        f"{LOGIN} -k leads_to_one",
    ),
    Mutant("a login leads anywhere", f"{WEB}/login.py", "return address if fine and", "return address if True or", f"{UNIT} -k nobody_is_sent"),
    Mutant(
        "an invitation is good twice",
        f"{ACTIONS}/users.py",
        "password_at=row.now, invite_hash=None, invite_until=None)",
        "password_at=row.now)",
        f"{LOGIN} -k invited_person",
    ),
    Mutant(
        "a session is known to its broker alone",
        f"{WEB}/register.py",
        "        for row in new:\n            await self._add(row, read_at)\n",
        "",
        f"{SHARED} -k known_to_all",
    ),
    Mutant("a session ends at one broker", f"{WEB}/register.py", "            await self._store.end(", "            _ = (", f"{SHARED} -k known_to_all"),
    Mutant("a use counts at one broker", f"{WEB}/register.py", "            await self._store.used(", "            dict(", f"{SHARED} -k use_at_one"),
    Mutant("a session outlives its token elsewhere", f"{WEB}/register.py", "if row.secret_hash is not None and secret is None:", "if False:", f"{SHARED} -k of_a_token"),
    Mutant(
        "forms are taken in sessions that may have ended", f"{WEB}/manager.py", "            await self._register.assure()\n", "", "tests/web/test_failing.py -k frozen"
    ),
    Mutant(
        "a form counts for the session that there was when it began to come",
        f"{WEB}/manager.py",
        "            session, unclear = await self._session(request)  # a form",
        "            pass  # a form",
        f"{LOGIN} -k while_it_comes",
    ),
    Mutant(
        "a form is for whatever domain is looked at",
        f"{WEB}/manager.py",
        "    if domain != session.domain and",
        "    if False and",
        "tests/web/test_sessions.py -k other_window",
    ),
    Mutant("a session lasts without use", f"{WEB}/sessions.py", "and now < session.seen + IDLE_S", "", f"{UNIT} -k idle"),
    Mutant("a session lasts for ever", f"{WEB}/sessions.py", " and now < session.began + longest_s", "", f"{UNIT} -k idle"),
    Mutant(
        "a form is for every role",
        f"{WEB}/manager.py",
        "        visit = Visit(services, self._doors, request, session, form)\n"
        "        MAY.set(visit.rights)\n        if not visit.may(path):\n            return self._denied(visit, path)\n",
        "        visit = Visit(services, self._doors, request, session, form)\n        MAY.set(visit.rights)\n",
        f"{LOGIN} -k forms_of_its_rights",
    ),
    Mutant(
        "a page is for every role",
        f"{WEB}/manager.py",
        "        visit = Visit(services, self._doors, request, session)\n"
        "        MAY.set(visit.rights)\n        if not visit.may(path):\n            return self._denied(visit, path)\n",
        "        visit = Visit(services, self._doors, request, session)\n        MAY.set(visit.rights)\n",
        f"{LOGIN} -k forms_of_its_rights",
    ),
    Mutant("anybody looks at any domain", f"{WEB}/account.py", "if not visit.everywhere or not DOMAIN", "if not DOMAIN", f"{LOGIN} -k chooses_one"),
    Mutant(
        "anybody says where a request came from",
        "broker/headrace_broker/http.py",
        "middleware=[Middleware(Proxied)] if behind_proxy else []",
        "middleware=[Middleware(Proxied)]",
        f"{LOGIN} -k proxy_says",
    ),
    Mutant("each connection of an address may guess anew", "broker/headrace_broker/proxied.py", "(_without_port(client)", "(client", f"{UNIT} -k whatever_port"),
    Mutant(
        "a page that came without TLS is one of ours",
        f"{WEB}/browser.py",
        ' and (origin.scheme == "https" or request.url.scheme != "https")',
        "",
        f"{UNIT} -k without_tls",
    ),
    Mutant(
        "cookies travel without TLS",
        f"{WEB}/browser.py",
        'secure = encrypted or request.url.scheme == "https"',
        "secure = encrypted",
        f"{LOGIN} -k proxy_says",
    ),
    Mutant(
        "another domain's user is changed",
        "broker/headrace_broker/store/sql/queries/user_lock.sql",
        " and domain is not distinct from $1::text for update",
        " and ($1::text is null or true) for update",
        f"{USERS} -k of_that_domain_alone",
    ),
    Mutant("lines for the next page pile up", f"{WEB}/sessions.py", "deque(maxlen=MOST_NOTICES)", "deque()", f"{UNIT} -k lines_for_the_next"),
    Mutant(
        "a session begins with a token that has ended", f"{WEB}/sessions.py", "            if session.secret.ended:\n", "            if False:\n", f"{UNIT} -k meanwhile"
    ),
)
