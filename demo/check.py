"""Compares what the agents did with an independent computation."""

import hashlib
import html
import json
import re
import subprocess
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headrace_client import Job, State

WORD = re.compile(r"[A-Za-z_]+")


def check_documents(jobs: Iterable[Job], documents: list[str]) -> list[str]:
    """What is missing, doubled or wrong among the jobs over single documents; empty when all is well."""
    problems: list[str] = []
    seen: dict[tuple[str, str], int] = {}
    hashes = _hashes(documents)
    for job in jobs:
        if job.type not in ("document.hash", "document.index", "document.preview"):
            continue
        path = json.loads(job.payload)["path"]
        seen[job.type, path] = seen.get((job.type, path), 0) + 1
        if job.state is not State.COMPLETED:
            problems.append(f"{job.type} of {path} is {job.state}: {job.error}")
            continue
        result = job.json_result()
        if job.type == "document.hash" and (result["sha256"], result["bytes"]) != (hashes[path], Path(path).stat().st_size):
            problems.append(f"wrong hash of {path}")
        elif job.type == "document.index" and not _words_match(path, result):
            problems.append(f"wrong index of {path}")
        elif job.type == "document.preview" and not _page_matches(path, result["page"]):
            problems.append(f"wrong preview of {path}")
    for type_ in ("document.hash", "document.index", "document.preview"):
        for path in documents:
            if seen.get((type_, path), 0) != 1:
                problems.append(f"{type_} of {path} is there {seen.get((type_, path), 0)} times")
    return problems


def check_package(archive: str, documents: list[str]) -> list[str]:
    """What is wrong with the archive."""
    with zipfile.ZipFile(archive) as packed:
        found = {f"/{info.filename}": info.CRC for info in packed.infolist()}
    wanted = {path: zlib.crc32(Path(path).read_bytes()) for path in documents}
    return [] if found == wanted else [f"the archive has {len(found)} files, {len(wanted)} were wanted, and {sum(found.get(p) != c for p, c in wanted.items())} differ"]


def check_mails(received: dict[str, list[str]], recipients: list[str]) -> list[str]:
    """Mails that did not arrive, and mails that arrived under two ids. A mail may come twice under one id, when its agent was killed after sending it."""
    problems = [f"no mail arrived at {recipient}" for recipient in recipients if recipient not in received]
    return problems + [f"{recipient} got different mails: {ids}" for recipient, ids in received.items() if len(set(ids)) != 1]


def _hashes(documents: list[str]) -> dict[str, str]:
    """By the system's own tool where there is one."""
    try:
        printed = subprocess.run(["sha256sum", "--", *documents], capture_output=True, text=True, check=True).stdout
        return {line[66:]: line[:64] for line in printed.splitlines()}
    except (OSError, subprocess.SubprocessError):
        return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in documents}


def _words_match(path: str, result: dict[str, Any]) -> bool:
    counts: dict[str, int] = {}
    for word in WORD.findall(Path(path).read_text(errors="replace")):
        if len(word) >= 3:
            counts[word.lower()] = counts.get(word.lower(), 0) + 1
    right_most = all(counts.get(word) == count for word, count in result["most"])
    return (result["words"], result["different"]) == (sum(counts.values()), len(counts)) and right_most


def _page_matches(path: str, page: str) -> bool:
    text = Path(page).read_text()
    inside = text[text.index("<pre>") + 5 : text.rindex("</pre>")]
    return html.unescape(re.sub(r"</?span[^>]*>", "", inside)) == Path(path).read_text(errors="replace")
