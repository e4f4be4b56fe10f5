"""Guards of saved filters."""

from tests.mutants.mutant import Mutant

B = "broker/headrace_broker/"
MODEL, ACTIONS, STORE, ADDRESS = B + "model/saved_filter.py", B + "actions/saved_filters.py", B + "store/saved_filters.py", B + "web/filters.py"
LOCK = B + "store/sql/queries/saved_filter_lock.sql"
UNIT, SERVED, PAGES = "tests/unit/test_saved_filters.py", "tests/rpc/test_saved_filters.py", "tests/web/test_saved_filters.py"
TYPED = "tests/client/test_filters_cli.py"

MUTANTS = (
    Mutant("filters: an age is the time of saving", MODEL, 'if f"{name}_{end}" in self.ages', "if False", f"{UNIT} -k ages_stay"),
    Mutant("filters: an empty one finds everything", MODEL, "if self.wanted == JobFilter() and not self.ages:", "if False:", f"{UNIT} -k no_saved_filter"),
    Mutant("filters: a bound is said twice", MODEL, "            if bound in said:\n", "            if False:\n", f"{UNIT} -k no_saved_filter"),
    Mutant("filters: an age may be anything", MODEL, "if not 0 <= age_s <= YEARS_10_S:", "if False:", f"{UNIT} -k no_saved_filter"),
    Mutant("filters: an order by score of whatever", MODEL, "if self.order is Order.SCORE and (", "if False and (", f"{UNIT} -k no_saved_filter"),
    Mutant("filters: of any size", MODEL, "        if size > MAX_BYTES:\n", "        if False:\n", f"{UNIT} -k no_saved_filter"),
    Mutant("filters: what is not known is passed over", MODEL, "        if strange:\n", "        if False:\n", f"{UNIT} -k newer_broker"),
    Mutant("filters: a name of whatever", MODEL, "    if not NAME.fullmatch(name):\n", "    if False:\n", f"{PAGES} -k cannot_be_used_here"),
    Mutant("filters: a token has those of a user of its name", MODEL, 'f"token/{caller.actor}" if', "caller.actor if", f"{UNIT} -k another_kind"),
    Mutant("filters: who says nothing shares with everybody", MODEL, 'else caller.actor or "anonymous"', "else caller.actor", f"{UNIT} -k another_kind"),
    Mutant("filters: on whose behalf does not count", MODEL, "if caller.on_behalf_of else named", "if False else named", f"{UNIT} -k another_kind"),
    Mutant("filters: a type that is not there is saved", ACTIONS, "        if missing:\n", "        if False:\n", f"{SERVED} -k says_so_when"),
    Mutant("filters: what is not there finds nothing", ACTIONS, "        if problem:\n", "        if False:\n", f"{SERVED} -k says_so_when"),
    Mutant("filters: everybody shares", ACTIONS, "            _may_share(sought.wanted.types)\n", "            pass\n", f"{SERVED} -k right_to_operate"),
    Mutant("filters: everybody changes what is shared", ACTIONS, "        _may_share(one.types)\n", "        pass\n", f"{SERVED} -k right_to_operate"),
    Mutant(
        "filters: a right for some types shares what matches any",
        ACTIONS,
        "        require_all(Act.OPERATE)\n",
        "        pass\n",
        f"{SERVED} -k right_to_operate",
    ),
    Mutant("filters: a right for one type shares another", ACTIONS, "        require(Act.OPERATE, name)\n", "        pass\n", f"{SERVED} -k right_to_operate"),
    Mutant(
        "filters: types that nobody may see are told", ACTIONS, "(types.everything or all(types.allow(name) for name in one.types)) and", "", f"{SERVED} -k is_hidden"
    ),
    Mutant(
        "filters: secrets in labels are told",
        ACTIONS,
        ' and not any(is_secret(key, masked) for key in one.stored.get("labels", {}))',
        "",
        f"{SERVED} -k is_hidden",
    ),
    Mutant("filters: what is hidden is overwritten", ACTIONS, "        if not _seen(one):\n", "        if False:\n", f"{SERVED} -k is_hidden"),
    Mutant(
        "filters: what is hidden is used",
        ACTIONS,
        "if shared in (None, one.shared) and _seen(one))",
        "if shared in (None, one.shared))",
        f"{SERVED} -k is_hidden",
    ),
    Mutant(
        "filters: the second of two overwrites the first",
        STORE,
        "                if old.version != expected_version:\n",
        "                if False:\n",
        f"{SERVED} -k two_who",
    ),
    Mutant("filters: what was deleted is replaced", STORE, "                if expected_version:\n", "                if False:\n", f"{SERVED} -k two_who"),
    Mutant(
        "filters: the same again is another version", STORE, "                if old.stored == stored:\n", "                if False:\n", f"{SERVED} -k row_in_the_audit"
    ),
    Mutant(
        "filters: a version comes back",
        B + "store/sql/queries/saved_filter_put.sql",
        "version = default",
        "version = saved_filter.version",
        f"{SERVED} -k two_who",
    ),
    Mutant(
        "filters: two make the same one at once", LOCK, "pg_advisory_xact_lock(hashtext('headrace.saved_filter'), hashtext($1))", "hashtext($1)", f"{SERVED} -k two_who"
    ),
    Mutant("filters: one owner has any number", STORE, 'if row["of_owner"] >= MOST_OF_OWNER:', "if False:", f"{SERVED} -k room_for"),
    Mutant("filters: a domain has any number", STORE, 'if row["of_domain"] >= MOST_OF_DOMAIN:', "if False:", f"{SERVED} -k room_for"),
    Mutant(
        "filters: all see everybody's own",
        B + "store/sql/queries/saved_filter_list.sql",
        "owner in ('', $2)",
        "$2::text is not null",
        f"{SERVED} -k owners_alone",
    ),
    Mutant("filters: an address that says something else is followed", ADDRESS, "if text} if same else {}", "if text}", f"{UNIT} -k says_what"),
    Mutant(
        "filters: a page makes a time of an age",
        ADDRESS,
        "if bound not in ages else None for bound in BOUNDS}",
        "for bound in BOUNDS}",
        f"{PAGES} -k replaced_and_deleted",
    ),
    Mutant(
        "filters: the command line makes a time of an age",
        "client/headrace_client/cli/filters.py",
        "dict.fromkeys(ages)",
        "{}",
        f"{TYPED} -k saved_listed",
    ),
    Mutant(
        "filters: options beside a saved one are forgotten",
        "client/headrace_client/cli/find.py",
        "replace(now, **said)",
        "now",
        f"{TYPED} -k saved_listed",
    ),
)
