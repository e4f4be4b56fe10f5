"""Access: tokens of programs, users, and who is logged in."""

import re
from collections.abc import Awaitable, Callable

from starlette.responses import Response

from headrace_broker.actions.reach import require_over
from headrace_broker.actions.tokens import TokenTable
from headrace_broker.actions.users import INVITATION_S, Users
from headrace_broker.model.access import TOKEN_NAME, USER_NAME, USER_ROLES, Role
from headrace_broker.model.errors import InvalidField, InvalidState, NotFound
from headrace_broker.model.fields import MAX_REASON, text
from headrace_broker.store.users import UserRow
from headrace_broker.web.failing import Choices
from headrace_broker.web.sessions import Session
from headrace_broker.web.visit import Page, Visit, html

TABS = ("tokens", "users", "sessions")
DAY_S = 86_400
EXPIRIES = {"": "never", str(DAY_S): "in a day", str(30 * DAY_S): "in 30 days", str(90 * DAY_S): "in 90 days", str(365 * DAY_S): "in a year"}
ROLE_WORDS = {
    Role.VIEWER: "viewer: sees", Role.OPERATOR: "operator: changes jobs, types, schedules", Role.ADMIN: "admin: gives access too", Role.GUEST: "guest: what is granted",
}  # fmt: skip
OVERLAPS = {"3600": "an hour", "86400": "a day", "604800": "a week", "0": "no longer: at once"}


async def page(visit: Visit) -> Response:
    """Tokens, users or sessions: those of the domain, and for people of all domains those of all too."""
    tab = visit.query("tab") or "tokens"
    if tab not in TABS:
        raise InvalidField("tab", f"one of {', '.join(TABS)}")
    ended = visit.query("ended") == "true"
    scopes: list[str | None] = [visit.domain, *([None] if visit.over_all else [])]
    tokens = [row for scope in scopes for row in await visit.services.tokens.list_tokens(scope, revoked=ended)] if tab == "tokens" else []
    users = [row for scope in scopes for row in await visit.services.users.list_users(scope, disabled=True)] if tab == "users" else []
    sessions = sorted(((s, *visit.doors.register.sessions.age_s(s)) for s in visit.doors.register.sessions.all() if _sees(visit, s)), key=lambda each: each[2])
    return html(
        visit, "access.html", title="Access", tab=tab, tabs=TABS, tokens=tokens, users=users, sessions=sessions, ended=ended, roles=[role.name.lower() for role in Role],
        user_roles=[role.name.lower() for role in USER_ROLES], expiries=EXPIRIES, overlaps=OVERLAPS, of_user=_count(sessions), default_role="", over_all=visit.over_all,
    )  # fmt: skip


async def create_token(visit: Visit) -> Response:
    """A token; its secret is shown on the page that answers, and nowhere else."""
    name, role = _token(visit), _role(visit.field("role"), tuple(Role))
    row, secret = await _tokens(visit).create(name, _scope(visit), role, _expires_in_s(visit), caller=visit.caller(), reason=_reason(visit))
    return _secret(visit, f"Token {row.name} is made", secret, f"It is {row.role.name.lower()} of {row.domain or 'all domains'}.", token=True)


async def rotate_token(visit: Visit) -> Response:
    """A new secret for a token."""
    overlap = visit.field("overlap")
    if overlap not in OVERLAPS:
        raise InvalidField("overlap", f"one of {', '.join(OVERLAPS)}")
    row, secret = await _tokens(visit).rotate(_token(visit), _scope(visit), float(overlap), None, caller=visit.caller(), reason=_reason(visit))
    return _secret(visit, f"Token {row.name} has a new secret", secret, f"The old one is valid for {OVERLAPS[overlap]}.", token=True)


async def revoke_token(visit: Visit) -> Response:
    """Ends a token."""
    row = await _tokens(visit).revoke(_token(visit), _scope(visit), caller=visit.caller(), reason=_reason(visit))
    visit.session.tell("done", f"Token {row.name} is revoked: within a second nobody takes it.")
    return visit.back("/access")


async def put_user(visit: Visit) -> Response:
    """A user (`invite`), or another role for one. Somebody new gets a link, which is shown on the page that answers."""
    name, role, scope = _user(visit), _role(visit.field("role"), USER_ROLES), _scope(visit)
    if visit.field("invite") and any(row.name.lower() == name.lower() for row in await _users(visit).list_users(scope, disabled=True)):
        raise InvalidState(f"there is a user {name} already: change it in the list")
    row, created = await _users(visit).put(name, scope, role, caller=visit.caller(), reason=_reason(visit))
    if created:
        return await _invite(visit, row.name)
    visit.session.tell("done", f"User {row.name} is {row.role.name.lower()} now; its sessions end.")
    return visit.back("/access")


async def invite_user(visit: Visit) -> Response:
    """A new link with which to choose a password."""
    return await _invite(visit, _user(visit))


async def disable_user(visit: Visit) -> Response:
    """Ends a user's sessions, and lets it begin none."""
    return await _change(visit, _users(visit).disable, "User {} is disabled: its sessions end within seconds.")


async def enable_user(visit: Visit) -> Response:
    """Lets a user in again."""
    return await _change(visit, _users(visit).enable, "User {} may log in again.")


async def log_user_out(visit: Visit) -> Response:
    """Ends the sessions of a user at every broker."""
    return await _change(visit, _users(visit).end_sessions, "The sessions of user {} end within seconds.")


async def end_session(visit: Visit) -> Response:
    """Ends one session, at every broker. As with all that is done to somebody, it takes all of their rights."""
    number = visit.field("number")
    found = next((session for session in visit.doors.register.sessions.all() if session.number == number and _sees(visit, session)), None)
    if found is None:
        raise InvalidState("this session has ended already")
    require_over(visit.services.grants, found.person.principal)
    await visit.doors.register.end_of_another(found, visit.caller())
    visit.session.tell("done", f"A session of {found.person.name} has ended.")
    return visit.back("/access")


async def _change(visit: Visit, change: Callable[..., Awaitable[UserRow]], done: str) -> Response:
    row = await change(_user(visit), _scope(visit), caller=visit.caller(), reason=_reason(visit))
    visit.session.tell("done", done.format(row.name))
    return visit.back("/access")


async def _invite(visit: Visit, name: str) -> Response:
    row, key = await _users(visit).invite(name, _scope(visit), INVITATION_S, caller=visit.caller(), reason=_reason(visit))
    url = visit.request.url
    link = f"{url.scheme}://{url.netloc}{visit.address('/invitation', key=key)}"
    return _secret(visit, f"Send {row.name} this link", link, f"With it {row.name} chooses a password. It is good once, and for three days.", token=False)


def _secret(visit: Visit, title: str, secret: str, said: str, *, token: bool) -> Response:
    return html(visit, "access_secret.html", title=title, secret=secret, said=said, token=token, tab="tokens" if token else "users")


def _tokens(visit: Visit) -> TokenTable:
    return visit.services.tokens


def _users(visit: Visit) -> Users:
    return visit.services.users


def _token(visit: Visit) -> str:
    name = visit.field("name")
    if not TOKEN_NAME.fullmatch(name):
        raise InvalidField("name", f"a token's name is 1 to 100 characters of A-Z a-z 0-9 . _ - @ : /, found {name[:60]!r}")
    return name


def _user(visit: Visit) -> str:
    name = visit.field("name")
    if not USER_NAME.fullmatch(name):
        raise InvalidField("name", f"a user's name is 1 to 100 characters of A-Z a-z 0-9 . _ @ + -, found {name[:60]!r}")
    return name


def _scope(visit: Visit) -> str | None:
    """The domain that the form means; None: all domains. What it means without a right to is not there."""
    if not visit.field("everywhere"):
        return visit.domain
    if not visit.over_all:
        raise NotFound("what concerns all domains takes somebody who gives access in all of them")
    return None


def _sees(visit: Visit, session: Session) -> bool:
    """Whether the person may know of a session: one of the domain that they look at, or, for those who give access in all domains, of all."""
    return session.person.domain == visit.domain or (visit.over_all and session.person.domain is None)


def _count(sessions: list[tuple[Session, float, float]]) -> dict[int, int]:
    found: dict[int, int] = {}
    for session, _, _ in sessions:
        if session.person.user_id is not None:
            found[session.person.user_id] = found.get(session.person.user_id, 0) + 1
    return found


def _role(name: str, known: tuple[Role, ...]) -> Role:
    found = next((role for role in known if role.name.lower() == name), None)
    if found is None:
        raise InvalidField("role", f"one of {', '.join(role.name.lower() for role in known)}, found {name[:60]!r}")
    return found


def _expires_in_s(visit: Visit) -> float | None:
    value = visit.field("expires_in_s")
    if value and not re.fullmatch(r"[1-9]\d{0,8}", value):
        raise InvalidField("expires_in_s", f"a number of seconds, found {value[:60]!r}")
    return float(value) if value else None


def _reason(visit: Visit) -> str:
    return text("reason", visit.field("reason"), MAX_REASON)


PAGES: dict[str, Page] = {"/access": page}
ACTIONS: dict[str, Page] = {
    "/token-create": create_token, "/token-rotate": rotate_token, "/token-revoke": revoke_token, "/user-put": put_user, "/user-invite": invite_user,
    "/user-disable": disable_user, "/user-enable": enable_user, "/user-logout": log_user_out, "/session-end": end_session,
}  # fmt: skip
CHOICES: dict[str, Choices] = {
    "/token-create": {"role": {role.name.lower(): role.name.lower() for role in Role}, "expires_in_s": EXPIRIES}, "/token-rotate": {"overlap": OVERLAPS},
    "/user-put": {"role": {role.name.lower(): words for role, words in ROLE_WORDS.items()}},
}  # fmt: skip
