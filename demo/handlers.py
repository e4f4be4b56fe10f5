"""The agents of the demo: `headrace-agent run demo.handlers:agent`."""

import asyncio
import collections
import contextlib
import hashlib
import html
import io
import os
import re
import smtplib
import zipfile
from dataclasses import dataclass
from email.message import EmailMessage
from keyword import iskeyword
from pathlib import Path
from tokenize import COMMENT, NAME, STRING, TokenError, generate_tokens

from headrace_agent import Agent, Backoff, Fail, JobContext

agent = Agent("documents", slots=6, build="demo")

WORD = re.compile(r"[A-Za-z_]{3,}")


@dataclass
class Document:
    """A file to work on."""

    path: str


@dataclass
class Package:
    """Files to pack, and where to."""

    paths: list[str]
    target: str


@dataclass
class Mail:
    """A mail to send."""

    server: str
    to: str
    subject: str
    text: str


@agent.job("document.hash", timeout_s=60)
def hash_document(ctx: JobContext, document: Document) -> dict[str, object]:
    """SHA-256 and size. A plain function: it runs in a thread."""
    digest, size = hashlib.sha256(), 0
    with open(document.path, "rb") as file:
        while block := file.read(1 << 16):
            digest.update(block)
            size += len(block)
    return {"sha256": digest.hexdigest(), "bytes": size}


@agent.job("document.index", executor="process", slots=3, timeout_s=60)
def index_document(ctx: JobContext, document: Document) -> dict[str, object]:
    """Words and how often each comes. In a process of its own: it is pure Python work."""
    words = collections.Counter(word.lower() for word in WORD.findall(Path(document.path).read_text(errors="replace")))
    ctx.log.info(f"{len(words)} different words in {document.path}")
    return {"words": sum(words.values()), "different": len(words), "most": words.most_common(5)}


@agent.job("document.preview", executor="process", slots=3, timeout_s=60)
def preview_document(ctx: JobContext, document: Document) -> dict[str, str]:
    """An HTML page with keywords, strings and comments in colour."""
    source = Path(document.path).read_text(errors="replace")
    page = f"<!doctype html><meta charset=utf-8><title>{html.escape(document.path)}</title><pre>{_coloured(source)}</pre>\n"
    target = Path(os.environ["HEADRACE_DEMO_DIR"]) / "previews" / f"{hashlib.sha256(document.path.encode()).hexdigest()[:16]}.html"
    target.write_text(page)
    return {"page": str(target)}


@agent.job("document.package", timeout_s=110, priority=-5)
def package_documents(ctx: JobContext, package: Package) -> dict[str, object]:
    """A zip archive of all documents, with progress."""
    partial = f"{package.target}.{ctx.lease_epoch}"
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(package.paths, 1):
            archive.write(path)
            ctx.progress(100 * number / len(package.paths), path)
    os.replace(partial, package.target)
    return {"files": len(package.paths), "bytes": os.path.getsize(package.target)}


@agent.job("document.scan", timeout_s=300)
def scan_documents(ctx: JobContext, package: Package) -> None:
    """Looks for secrets by trying keys against every line, which never ends in time: somebody aborts it. It stops when it is told to."""
    for path in package.paths:
        for line in Path(path).read_bytes().splitlines():
            hashlib.pbkdf2_hmac("sha256", line, b"headrace", 20_000)
            ctx.progress(0, path)  # raises once the job is aborted


@agent.job("mail.send", timeout_s=20, max_attempts=8, retry=Backoff(0.5, factor=1.5, max_s=3))
def send_mail(ctx: JobContext, mail: Mail) -> str:
    """One mail over SMTP. A server that says "try later" makes the attempt fail, and the job is tried again by itself."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "documents@example.org", mail.to, mail.subject
    message["Message-ID"] = f"<{ctx.job_id}.headrace@example.org>"
    message.set_content(mail.text)
    host, _, port = mail.server.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=10) as server:
        server.send_message(message)
    ctx.log.info(f"sent to {mail.to} at attempt {ctx.attempt}")
    return mail.to


@agent.job("document.convert", timeout_s=20, max_attempts=2, retry=Backoff(0.2))
async def convert_document(ctx: JobContext, document: Document) -> None:
    """Fails for good: there is no converter for these files. Its log says so."""
    data = await asyncio.to_thread(Path(document.path).read_bytes)
    ctx.log.info(f"{document.path} has {len(data)} bytes")
    ctx.log.error(f"it begins with {data[:12]!r}: no converter knows that")
    raise Fail(f"no converter for {Path(document.path).suffix} files", code="no_converter")


def _coloured(source: str) -> str:
    """The source with its tokens marked; as plain text where it is not Python that this Python can read."""
    lines = source.splitlines(keepends=True)
    marks: list[tuple[int, int, int, int, str]] = []
    with contextlib.suppress(TokenError, SyntaxError, IndentationError):
        for token in generate_tokens(io.StringIO(source).readline):
            colour = {STRING: "green", COMMENT: "gray"}.get(token.type) or ("blue" if token.type == NAME and iskeyword(token.string) else "")
            if colour:
                marks.append((*token.start, *token.end, colour))
    out: list[str] = []
    row, column = 1, 0

    def until(to_row: int, to_column: int) -> str:
        nonlocal row, column
        text = []
        while row < to_row and row <= len(lines):
            text.append(lines[row - 1][column:])
            row, column = row + 1, 0
        if row <= len(lines):
            text.append(lines[row - 1][column:to_column])
            column = to_column
        return html.escape("".join(text), quote=False)

    for start_row, start_column, end_row, end_column, colour in marks:
        out.append(until(start_row, start_column))
        out.append(f'<span style="color:{colour}">{until(end_row, end_column)}</span>')
    out.append(until(len(lines) + 1, 0))
    return "".join(out)
