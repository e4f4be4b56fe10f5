"""Who calls: what a change's audit row and a job's history say of it."""

import re
import uuid
from typing import Any

from headrace_proto.wire import ACTOR_KEY, ON_BEHALF_OF_KEY, REQUEST_ID_KEY

from headrace_broker.actions import reach
from headrace_broker.model.audit import MAX_NAME, Caller
from headrace_broker.model.errors import DomainDenied, InvalidField, RoleDenied
from headrace_broker.model.permissions import Act
from headrace_broker.rpc import convert
from headrace_broker.rpc.access import TOKEN, sees_all_domains

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,100}")


def caller_of(context: Any) -> Caller:
    """Who asks for the change that this call makes. To be called once in each such call: the request id, the caller's own or a new one, goes back with the answer.

    Raises:
        InvalidField: what the metadata says of it is too long or malformed. RoleDenied, TypeDenied: not everybody may act for somebody else.
    """
    token = TOKEN.get()
    said = {key: value if isinstance(value, str) else value.decode(errors="replace") for key, value in context.invocation_metadata() or ()}
    actor = convert.text(ACTOR_KEY, said.get(ACTOR_KEY, ""), MAX_NAME)
    on_behalf_of = convert.text(ON_BEHALF_OF_KEY, said.get(ON_BEHALF_OF_KEY, ""), MAX_NAME)
    request_id = said.get(REQUEST_ID_KEY) or uuid.uuid4().hex
    if not REQUEST_ID.fullmatch(request_id):
        raise InvalidField(REQUEST_ID_KEY, "a request id is 1 to 100 visible ASCII characters")
    context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
    if token is None:
        return Caller(actor, convert.domain_of(context), request_id, on_behalf_of)
    if on_behalf_of and not reach.types_for(Act.ACT_FOR):
        raise RoleDenied(f"{token.called}, with the role {token.role.name.lower()}, may not act on behalf of somebody else: that takes the right {Act.ACT_FOR}")
    if on_behalf_of:
        reach.for_somebody()
    return Caller(token.name, convert.domain_of(context), request_id, on_behalf_of, token.token_id)


def scope(all_domains: bool, context: Any) -> str | None:
    """The domain whose tokens, users or rows of the audit are meant; None: those of all domains. Raises DomainDenied."""
    if not all_domains:
        return convert.domain_of(context)
    if not sees_all_domains():
        token = TOKEN.get()
        raise DomainDenied(f"{token.called if token is not None else 'the caller'} is for one domain; what concerns all domains takes a token of all of them")
    return None
