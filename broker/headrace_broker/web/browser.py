"""What a browser sends and is sent with every page: headers, the cookie, forms, and where it is led."""

from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from headrace_broker.web.sessions import COOKIE, SESSION_S

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MOST_FIELDS = 5000


class Static(StaticFiles):
    """Script and style. Browsers ask each time whether what they have is still so, which is short: else they would go by the old ones for days after an upgrade."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:  # as in Starlette
        """Starlette's, with headers."""
        response = super().file_response(*args, **kwargs)
        response.headers.update({"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"})
        return response


def prefix_of(request: Request) -> str:
    """Where the manager lives, as the browser sees it; without a slash at the end."""
    return str(request.scope.get("root_path", ""))


def to_login(request: Request) -> Response:
    """To the page that asks who it is, and from there back to the one that was wanted; a part of a page has the whole of it replaced."""
    prefix = prefix_of(request)
    part = "hx-request" in request.headers
    page = parted(request.headers.get("hx-current-url", "")) if part else request.url
    wanted = page.path.removeprefix(prefix) + (f"?{page.query}" if page.query else "")
    asked = "?" + urlencode({"next": wanted}) if (part or request.method == "GET") and wanted not in ("/", "") else ""
    if part:
        return Response(status_code=401, headers={**HEADERS, "HX-Redirect": f"{prefix}/login{asked}"})
    return RedirectResponse(f"{prefix}/login{asked}", 303, headers=HEADERS)


def set_cookie(response: Response, request: Request, value: str, *, encrypted: bool = False) -> None:
    """The browser has the session from now on: no script reads the cookie, no other site sends it, and behind TLS it does not travel without. `encrypted`: the
    browser is here over TLS, whatever the request looks like."""
    secure = encrypted or request.url.scheme == "https"
    response.set_cookie(COOKIE, value, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=secure, path=prefix_of(request) or "/")


async def read_form(request: Request, most_bytes: int) -> FormData | None:
    """The fields that were sent; None: they are more than that, or do not say how much they are. Where a body comes in chunks its length counts for nothing, whatever
    it is said to be (RFC 9112, section 6.3). Our forms have one encoding; what comes in another one has no fields."""
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not (length.isascii() and length.isdigit() and int(length) <= most_bytes):
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return FormData()
    return await request.form(max_files=0, max_fields=MOST_FIELDS)


def parted(address: str) -> SplitResult:
    """The parts of an address that a browser sent; of one that is none, empty ones."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def same_origin(request: Request) -> bool:
    """Whether a browser says that the request came from a page of this listener; one that says nothing is not believed. A page that came without TLS, where ours come
    with it, may be anybody's on the way; the other way round TLS ends at a proxy that does not say so."""
    origin = parted(request.headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc == request.headers.get("host") and (origin.scheme == "https" or request.url.scheme != "https")
