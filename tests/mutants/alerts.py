"""Guards of the alerts."""

from tests.mutants.mutant import Mutant

B = "broker/headrace_broker/"
MODEL, QUEUE, RULES, CHANNEL = B + "model/alerting.py", B + "model/alert_queue.py", B + "model/alert_rules.py", B + "model/alert_channel.py"
DUTY, FACTS, STORE, OUTAGE = B + "alerts/duty.py", B + "alerts/facts.py", B + "store/alerts.py", B + "alerts/outage.py"
TRY, PUT, CLAIM = B + "store/sql/queries/alert_notices_try.sql", B + "alerts/desk.py", B + "store/sql/queries/alert_claim_duty.sql"
UNIT, FIRE, SERVED, DOWN = "tests/unit/test_alerting.py", "tests/fire/test_alerts.py", "tests/rpc/test_alerts.py", "tests/fire/test_outage.py"
KEPT = "tests/fire/test_alerts_kept.py"

MUTANTS = (
    Mutant(
        "alerts: agents that an owner knew are forgotten with it",
        DUTY,
        "Roster(await self._store.agents(owner.orphans), ",
        "Roster((), ",
        f"{FIRE} -k missed_by_the_next_owner",
    ),
    Mutant("alerts: an agent that may have ended in good order is missed", FACTS, "if agent.gone_s is not None or agent.holds]", "]", f"{FIRE} -k held_nothing"),
    Mutant(
        "alerts: what a library stumbles over ends the broker",
        B + "alerts/sending.py",
        "    except Exception as error:  # what",
        "    except OSError as error:  # what",
        f"{UNIT} -k stumbles",
    ),
    Mutant(
        "alerts: that a breaker has closed is told late",
        MODEL,
        "next_s=group.next_s if timing.settle_s is None else now + timing.settle_s",
        "next_s=group.next_s",
        f"{FIRE} -k flaps_once",
    ),
    Mutant("alerts: a breaker that flaps is told each time", DUTY, "wait_s, settle_s = 0.0, wait_s", "wait_s, settle_s = 0.0, 0.0", f"{FIRE} -k flaps_once"),
    Mutant(
        "alerts: what a newer release opened stops the duty",
        STORE,
        "    return [row for row in rows if row[column] not in unknown]",
        "    return list(rows)",
        f"{FIRE} -k newer_release",
    ),
    Mutant(
        "alerts: nobody hears of what is passed over",
        STORE,
        "for kind, count in sorted(unknown.items()):",
        "for kind, count in ():",
        f"{FIRE} -k newer_release",
    ),
    Mutant(
        "alerts: a notice of a newer release stops the duty",
        B + "alerts/words.py",
        'TITLES.get(source, source.replace("_", " "))',
        "TITLES[source]",
        f"{FIRE} -k newer_release",
    ),
    Mutant(
        "alerts: a page stumbles over a group of a newer release",
        B + "store/sql/queries/alert_groups_page.sql",
        "and source = any($5)",
        "and $5::text[] is not null",
        f"{FIRE} -k newer_release",
    ),
    Mutant(
        "alerts: a page of what fires stumbles over a group of a newer release",
        B + "store/sql/queries/alert_groups_firing.sql",
        "and source = any($4)",
        "and $4::text[] is not null",
        f"{FIRE} -k newer_release",
    ),
    Mutant("alerts: a channel of a newer release is a riddle", B + "alerts/sending.py", "if channel.kind not in DELIVER:", "if False:", f"{FIRE} -k newer_release"),
    Mutant("alerts: a notice before the group wait", MODEL, "if now < group.next_s:", "if False:", f"{UNIT} -k waits_then"),
    Mutant("alerts: what was told is told again", MODEL, "group = replace(group, pending=0, notified_s", "group = replace(group, notified_s", f"{UNIT} -k one_notice"),
    Mutant("alerts: no repeat", MODEL, "elif now - group.notified_s >= timing.repeat_interval_s:", "elif False:", f"{UNIT} -k waits_then"),
    Mutant("alerts: a group never ends", MODEL, "now - group.changed_s >= timing.resolve_after_s", "False", f"{UNIT} -k one_notice"),
    Mutant("alerts: a passing condition is told", MODEL, "told = group.notified_s is not None or", "told = True or", f"{UNIT} -k group_wait"),
    Mutant("alerts: silences are not looked at", MODEL, "    if silenced:\n", "    if False:\n", f"{UNIT} -k silence"),
    Mutant("alerts: a silence has no end", MODEL, "self.starts_s <= now < self.ends_s", "self.starts_s <= now", f"{UNIT} -k silence"),
    Mutant("alerts: a group for each fingerprint", MODEL, "or alike < MAX_FINGERPRINTS", "or True", f"{UNIT} -k fingerprints"),
    Mutant("alerts: no cap", QUEUE, "    if room <= 0:\n", "    if False:\n", f"{UNIT} -k cap"),
    Mutant("alerts: what is held back comes one by one", QUEUE, "tuple(fresh if room == 1 else fresh[:1])", "tuple(fresh[:1])", f"{UNIT} -k last_message"),
    Mutant("alerts: no pause before the next try", QUEUE, "if notice.next_try_s <= now or notice.next_try_s > now + FAR_S]", "]", f"{UNIT} -k growing"),
    Mutant(
        "alerts: another message under the same id", QUEUE, "for notice in again if notice.batch_id == due[0].batch_id", "for notice in waiting", f"{UNIT} -k growing"
    ),
    Mutant("alerts: what was never tried is given up", QUEUE, "if notice.tries and now", "if now", f"{UNIT} -k growing"),
    Mutant("alerts: paused types wait too long", RULES, "if not t.halted and t.oldest_s > rule.threshold", "if t.oldest_s > rule.threshold", f"{UNIT} -k rules_find"),
    Mutant("alerts: a rate of few attempts", RULES, "and ended >= max(1, rule.minimum)", "and ended", f"{UNIT} -k rules_find"),
    Mutant("alerts: a password in the clear", CHANNEL, 'if settings["tls"] == "none" and', "if False and", f"{UNIT} -k cannot_work"),
    Mutant(
        "alerts: recipients are not looked at", CHANNEL, '        _check_address(f"{where}.recipients[{index}]", recipient)\n', "        pass\n", f"{UNIT} -k cannot_work"
    ),
    Mutant("alerts: a secret of two bytes", CHANNEL, "or not low <= len(key) <= high", "", f"{UNIT} -k cannot_work"),
    Mutant("alerts: the time is not signed", CHANNEL, 'f"{message_id}.{timestamp}."', 'f"{message_id}."', f"{UNIT} -k signature"),
    Mutant("alerts: an older term goes on", STORE, 'if row["term"] != term:', "if False:", f"{FIRE} -k lost_the_duty"),
    Mutant(
        "alerts: a message of an older term is sent",
        TRY,
        "and exists (select from headrace.alert_state s where s.term = $4 and s.shard = $5)",
        "and $4::bigint is not null",
        f"{FIRE} -k lost_the_duty",
    ),
    Mutant("alerts: a dead life takes the duty up", CLAIM, "and not dead)", ")", f"{FIRE} -k lost_the_duty"),
    Mutant("alerts: the cursor stays", STORE, "if cursor > self.cursor:", "if False:", f"{FIRE} -k ten_thousand"),
    Mutant("alerts: notices wait until somebody changes something", DUTY, "held.stale = held.stale or bool(notices)", "pass", f"{FIRE} -k ten_thousand"),
    Mutant("alerts: a rule fires at once", DUTY, ">= for_s or held", ">= 0 or held", f"{FIRE} -k has_lasted"),
    Mutant("alerts: what a rule no longer finds goes on", DUTY, "            groups[key] = ended(group, now, held.timing(key))\n", "", f"{FIRE} -k has_lasted"),
    Mutant(
        "alerts: failures are kept from a channel that wants nothing of the end",
        DUTY,
        "or not notice.resolved or notice.count]",
        "or not notice.resolved]",
        f"{FIRE} -k who_is_told",
    ),
    Mutant("alerts: an agent that said goodbye is missed", FACTS, " or (known.session is not None and known.session.draining)", "", f"{FIRE} -k said_that_it_goes"),
    Mutant("alerts: an outage is told at once", OUTAGE, "now - since_s < rule.for_s or", "", DOWN),
    Mutant(
        "alerts: what one kind keeps secret serves the other",
        PUT,
        "if old is not None and old.kind != channel.kind and secret is None:",
        "if False:",
        f"{SERVED} -k shown_audited",
    ),
    Mutant(
        "apprise's address is told",
        "broker/headrace_broker/alerts/by_apprise.py",
        'raise Undelivered("the service did not take it;',
        'raise Undelivered(f"{secret} the service did not take it;',
        "tests/rpc/test_alerts.py -k apprise",
    ),
    Mutant(
        "alerts: a channel that does not answer delays the others in an outage",
        OUTAGE,
        "tasks.create_task(self._tell(rule, channel, since_s, now, over=over))",
        "await self._tell(rule, channel, since_s, now, over=over)",
        f"{DOWN} -k delays_no_other",
    ),
    Mutant(
        "alerts: a channel that does not answer holds up the passes of an outage",
        DUTY,
        "tasks.create_task(self._tell_of_outage())",
        "await self._tell_of_outage()",
        f"{DOWN} -k holds_up_no_pass",
    ),
    Mutant(
        "alerts: an outage is told twice to a channel that has not answered", OUTAGE, "if channel.channel_id in self._telling:", "if False:", f"{DOWN} -k answers_late"
    ),
    Mutant(
        "alerts: the end of an outage is not told to who was being told of it",
        OUTAGE,
        "not self._told and not self._telling:\n            self._since = None\n            return",
        "not self._told:\n            self._since = None\n            return",
        f"{DOWN} -k answers_late",
    ),
    Mutant("alerts: two rules tell a channel twice of an outage", OUTAGE, "due.setdefault(channel.channel_id,", "due.setdefault(len(due),", f"{DOWN} -k delays_no_other"),
    Mutant(
        "alerts: a delivery that stumbles keeps the others from an outage", OUTAGE, "except Exception as error:", "except OSError as error:", f"{DOWN} -k delays_no_other"
    ),
    Mutant("alerts: an outage goes on at a channel that is not there any more", OUTAGE, " if channel_id in self._there}", "}", f"{DOWN} -k could_not_be_told"),
    Mutant("alerts: an outage whose end is not told yet hides the next one", OUTAGE, " or self._over_s is not None:  # the", ":  # the", f"{DOWN} -k could_not_be_told"),
    Mutant("alerts: what is old goes a portion in ten minutes", DUTY, "held.next_trim = self._watch.monotonic() + TRIM_AGAIN_S", "pass", f"{FIRE} -k portion_after"),
    Mutant(
        "alerts: a channel is deleted before the duty's state is locked",
        STORE,
        '            await con.execute(sql("alert_changed"))  # first: who has the duty locks its state, and then channels that get a notice\n'
        '            await con.execute(sql("alert_channel_delete"), old.channel_id)\n',
        '            await con.execute(sql("alert_channel_delete"), old.channel_id)\n            await con.execute(sql("alert_changed"))\n',
        f"{FIRE} -k gets_a_notice",
    ),
    Mutant("alerts: what goes on is over for who takes the duty up", DUTY, " or held.fires(placed[key])}", "}", f"{KEPT} -k whoever_looks_next"),
    Mutant("alerts: what goes on among all others is over for who takes the duty up", DUTY, "held.fires(placed[key])", "held.fires(key)", f"{KEPT} -k share_a_group"),
    Mutant(
        "alerts: what goes on among all others is a transaction each pass",
        DUTY,
        "{*places(self.lasting, self.groups).values()}",
        "self.lasting",
        f"{KEPT} -k share_a_group",
    ),
    Mutant(
        "alerts: an agent that goes after the clock was set back was there later",
        FACTS,
        "        if now < self._looked_s:\n",
        "        if False:\n",
        f"{KEPT} -k agent_that_dies",
    ),
    Mutant("alerts: an agent that the owner before missed is waited for", FACTS, "min(agent.gone_s, now)", "agent.gone_s", f"{FIRE} -k was_set_back"),
    Mutant(
        "alerts: a flush that an outage held up is told beside it",
        B + "shards/health.py",
        "        self._buckets.clear()\n        self._began = None\n",
        "        self._buckets.clear()\n",
        f"{DOWN} -k held_up_is_told",
    ),
    Mutant("alerts: a clock that was set back keeps groups waiting", DUTY, "        if now < held.passed_s:\n", "        if False:\n", f"{KEPT} -k set_back"),
    Mutant("alerts: a clock that was set back keeps messages waiting", QUEUE, " or notice.next_try_s > now + FAR_S]", "]", f"{KEPT} -k set_back"),
    Mutant("alerts: a silence gives way to those that end later", DUTY, "silences(None, now, limit=None)", "silences(None, now)", f"{KEPT} -k end_later"),
    Mutant(
        "alerts: what could not be recorded is beyond the cap",
        DUTY,
        "            await self._record_delivered()  # they count for the cap\n",
        "",
        f"{KEPT} -k counts_for_the_cap",
    ),
    Mutant("alerts: all messages that ever were are remembered", DUTY, " if at > now - alert_queue.HOUR_S), now]", "), now]", f"{FIRE} -k cap_holds_back"),
    Mutant(
        "alerts: the cursor follows doors past a failure",
        B + "store/sql/queries/alert_signals.sql",
        " and kind <> 'door_open' order by",
        " order by",
        f"{KEPT} -k door_is_written_down",
    ),
    Mutant("alerts: doors keep the duty busy", B + "store/sql/queries/alert_poll.sql", " where a.kind <> 'door_open'", "", f"{KEPT} -k door_is_written_down"),
    Mutant("alerts: a rate is judged by the oldest minutes", B + "store/sql/queries/stat_ended.sql", "order by at desc", "order by at", f"{KEPT} -k newest_minutes"),
    Mutant("alerts: who stands by since an outage says nothing of its end", DUTY, 'self._ownership.role != "standby":', "True:", f"{DOWN} -k stands_by"),
)
