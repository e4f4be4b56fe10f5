"""Grants: domains, job types, actions."""

from tests.mutants.mutant import Mutant

GATE = "broker/headrace_broker/rpc/access.py"
REACH = "broker/headrace_broker/actions/reach.py"
REACHABLE = "broker/headrace_broker/actions/reachable.py"
READS = "broker/headrace_broker/actions/reads.py"
TESTS = "tests/rpc/test_permissions.py"
MASKED = "broker/headrace_broker/model/masked_text.py"
WORDS = "tests/unit/test_masked_text.py"
PAGES = "tests/web/test_schedules.py"
UNIT = "tests/unit/test_permissions.py"

MUTANTS = (
    Mutant("a right for some types opens calls about all", GATE, "if not need.by_type and not types.everything:", "if False:", f"{TESTS} -k each_action"),
    Mutant(
        "a grant counts in every domain",
        "broker/headrace_broker/model/permissions.py",
        "if source.acts and matches(source.domains, domain)]",
        "if source.acts]",
        f"{TESTS} -k each_action",
    ),
    Mutant("jobs of all types are seen", READS, " or not types_for(Act.VIEW).allow(entry.name):", ":", f"{TESTS} -k not_there"),
    Mutant("all types are counted and searched", REACHABLE, "if types.everything or types.allow(entry.name)]", "if True]", f"{TESTS} -k not_there"),
    Mutant("data is shown to everybody", READS, "withheld = not types_for(Act.VIEW_DATA).allow(entry.name)", "withheld = False", f"{TESTS} -k withheld"),
    Mutant(
        "secrets are given",
        READS,
        "await asyncio.to_thread(redacted, data, secrets(job.type)) if data and job.masked and self._masks else data",
        "data",
        f"{TESTS} -k secrets_are_masked",
    ),
    Mutant("a label tells a secret", READS, "row = replace(row, labels=masked_labels(row.labels, secret))", "pass", f"{TESTS} -k secrets_are_masked"),
    Mutant("an event tells a secret", READS, "if labels else told", "if False else told", f"{TESTS} -k secrets_are_masked"),
    Mutant("a log line tells a secret", READS, "text=masked_text(line.text, secrets(job.type))", "text=line.text", f"{TESTS} -k secrets_in_words"),
    Mutant(
        "an error tells a secret",
        READS,
        "row = replace(row, error=masked_error(row.error, secret), abort=abort)",
        "row = replace(row, abort=abort)",
        f"{TESTS} -k secrets_in_words",
    ),
    Mutant("progress tells a secret", READS, "progress and (progress[0], masked_text(progress[1], secret))", "progress", f"{TESTS} -k secrets_in_words"),
    Mutant("the reason of an abort tells a secret", READS, 'masked_text(row.abort["reason"] or "", secret)', 'row.abort["reason"]', f"{TESTS} -k secrets_in_words"),
    Mutant(
        "a timeline tells a secret", READS, "told = [replace(event, error=masked_error(event.error, secret), ", "told = [replace(event, ", f"{TESTS} -k secrets_in_words"
    ),
    Mutant("a run tells a secret", READS, "[replace(row, error=masked_error(row.error, secret), ", "[replace(row, ", f"{TESTS} -k secrets_in_words"),
    Mutant("an alert tells a secret", READS, "masked_error(row.error, secrets(names[row.type_id]))", "row.error", f"{TESTS} -k secrets_in_words"),
    Mutant(
        "a group of alerts tells a secret",
        "broker/headrace_broker/alerts/desk.py",
        "masked_text(group.summary, secrets(group.key.type))",
        "group.summary",
        f"{TESTS} -k secrets_in_words",
    ),
    Mutant(
        "a group of errors tells a secret",
        "broker/headrace_broker/actions/error_groups.py",
        "masked_text(group.message, secrets(entry.name))",
        "group.message",
        "tests/web/test_job_page.py -k secrets_in_words",
    ),
    Mutant(
        "a secret can be guessed by searching",
        "broker/headrace_broker/actions/search.py",
        "if wanted.log_text is None and not wanted.labels:",
        "if not wanted.labels:",
        f"{TESTS} -k secrets_in_words",
    ),
    Mutant(
        "a guess of a label is confirmed by searching",
        "broker/headrace_broker/actions/search.py",
        "if wanted.log_text is None and not wanted.labels:",
        "if wanted.log_text is None:",
        f"{TESTS} -k masked_labels_are_not_searched",
    ),
    Mutant("a value in quotes ends at the first of them", MASKED, r"|\\.?|", "|", f"{WORDS} -k stands_behind"),
    Mutant("a value in brackets ends at a comma", MASKED, "closing.append(_CLOSING[mark[0]])", "pass", f"{WORDS} -k stands_behind"),
    Mutant("of a header the first word is a secret", MASKED, 'line = text.find("\\n", begin)', 'line = text.find(" ", begin)', f"{WORDS} -k stands_behind"),
    Mutant("names with escapes are not found", MASKED, '"\\\\u" not in text and not any', "not any", f"{WORDS} -k stands_behind"),
    Mutant("a schedule tells a secret", "broker/headrace_broker/rpc/schedules.py", "    if withheld or secret:\n", "    if False:\n", f"{TESTS} -k secrets_are_masked"),
    Mutant(
        "encoded data is given",
        "broker/headrace_broker/model/redaction.py",
        "if data.startswith((ENCODED, CLAIM)):",
        "if data.startswith(CLAIM):",
        "tests/unit/test_pages.py -k without_secrets",
    ),
    Mutant(
        "a new payload takes no right", "broker/headrace_broker/actions/changing.py", 'if options.get("payload") is not None:', "if False:", f"{TESTS} -k another_payload"
    ),
    Mutant("a page offers what may not be done", "broker/headrace_broker/web/job.py", "types_for(act).allow(job.type) for act", "True for act", f"{PAGES} -k delegate"),
    Mutant(
        "the page of grants takes a right for all types",
        "broker/headrace_broker/web/rights.py",
        "(bool(types) and need.by_type)",
        "False",
        f"{PAGES} -k delegate",
    ),
    Mutant(
        "watches tell of all types",
        "broker/headrace_broker/rpc/jobs.py",
        "if entry is None or not types_for(Act.VIEW).allow(entry.name):",
        "if entry is None:",
        "tests/fire/test_watch.py -k not_for_the_reader",
    ),
    Mutant(
        "graphs show all types",
        READS,
        "for row in there if seen.allow(types[row.type_id].name)]",
        "for row in there]",
        f"{TESTS} -k watches_graphs",
    ),
    Mutant(
        "jobs of any type can be depended on",
        "broker/headrace_broker/actions/ties.py",
        "    return types_for(Act.VIEW).allow(name) or types_for(Act.SUBMIT).allow(name)",
        "    return True",
        f"{TESTS} -k watches_graphs",
    ),
    Mutant(
        "a new payload for a descent takes no right",
        "broker/headrace_broker/actions/descents.py",
        ", *([Act.UPDATE] if with_payload else []))",
        ")",
        f"{TESTS} -k another_payload",
    ),
    Mutant(
        "a delegate takes an operator's place",
        "broker/headrace_broker/actions/grants.py",
        "        require_over(self, principal_of_user(row))\n",
        "        pass\n",
        f"{TESTS} -k never_more",
    ),
    Mutant(
        "patterns that begin alike are taken to be within each other",
        "broker/headrace_broker/model/permissions.py",
        "[0].startswith(start)",
        "[0].startswith(start[:1])",
        f"{UNIT} -k within_another",
    ),
    Mutant("names of any length are kept", "broker/headrace_broker/model/permissions.py", "if len(name) <= LONGEST:", "if True:", f"{UNIT} -k long_names"),
    Mutant(
        "one of two holders is enough",
        "broker/headrace_broker/model/permissions.py",
        "return Types(*self._sets, *other._sets)",
        "return other",
        f"{UNIT} -k all_of_their_sets",
    ),
    Mutant("all jobs may be changed", "broker/headrace_broker/actions/changing.py", "    if not refused:\n", "    if True:\n", f"{TESTS} -k may_be_seen"),
    Mutant(
        "types that are not permitted are submitted",
        "broker/headrace_broker/rpc/submit.py",
        "if types is not None and not types.allow(name):",
        "if False:",
        f"{TESTS} -k by_type_and_name",
    ),
    Mutant(
        "columns of any type are submitted",
        "broker/headrace_broker/rpc/submit.py",
        '        require(Act.SUBMIT, group.type, f"{field}type")\n',
        "",
        f"{TESTS} -k by_type_and_name",
    ),
    Mutant(
        "an operation touches all types",
        "broker/headrace_broker/actions/operations.py",
        "return replace(wanted, types=tuple(names))",
        "return wanted",
        f"{TESTS} -k operation_touches",
    ),
    Mutant(
        "an agent serves any type",
        "broker/headrace_broker/rpc/agents.py",
        '            reach.require(Act.SERVE, name, f"{field}.type")\n',
        "",
        f"{TESTS} -k until_the_grant",
    ),
    Mutant(
        "an agent serves on when its grant ends",
        GATE,
        "            self._admitted.grants.watchers.add(self._review)\n",
        "            pass\n",
        f"{TESTS} -k until_the_grant",
    ),
    Mutant(
        "anybody gives anything", REACH, "                if not may.covers(needed, source.domains, source.types):", "                if False:", f"{TESTS} -k never_more"
    ),
    Mutant(
        "a delegate revokes an administrator",
        "broker/headrace_broker/actions/grants.py",
        "        require_over(self, Principal((HolderKind.TOKEN, row.token_id), row.role, row.domain, row.called))\n",
        "        pass\n",
        f"{TESTS} -k never_more",
    ),
    Mutant("ties tell jobs that are not to be seen", READS, "        if unseen:\n", "        if False:\n", f"{TESTS} -k tied_to_them"),
    Mutant(
        "jobs of all types are to be seen", READS, "asked = list[int]() if seen.everything else list(set(job_ids))", "asked = list[int]()", f"{TESTS} -k tied_to_them"
    ),
    Mutant("the types of all ties are asked for at once", READS, "asked[first : first + TYPES_AT_ONCE]", "asked", "tests/fire/test_graph.py -k in_portions"),
    Mutant(
        "edges tell jobs that are not to be seen",
        "broker/headrace_broker/actions/graph.py",
        "Edge(0 if edge.parent_id in unseen else edge.parent_id, ",
        "Edge(edge.parent_id, ",
        f"{TESTS} -k tied_to_them",
    ),
    Mutant(
        "explanations name jobs that are not to be seen",
        "broker/headrace_broker/actions/explain.py",
        "for other in seen if other in unmet]",
        "for other in sorted(unmet)]",
        f"{TESTS} -k tied_to_them",
    ),
    Mutant(
        "a right in one domain shows people of all",
        "broker/headrace_broker/web/visit.py",
        "return self.rights.covers(Act.MANAGE_ACCESS, EVERY, EVERY)",
        "return self.everywhere",
        f"{PAGES} -k one_domain_is_none",
    ),
    Mutant(
        "anybody who gives access ends any session",
        "broker/headrace_broker/web/access.py",
        "    require_over(visit.services.grants, found.person.principal)\n",
        "",
        f"{PAGES} -k one_domain_is_none",
    ),
)
