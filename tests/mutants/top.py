"""What `headrace top` and tables show, how a terminal is left, and what mistakes are told."""

from tests.mutants.mutant import Mutant

CLI = "client/headrace_client/cli"
TERMINAL = "protos/headrace_proto/terminal.py"
BROKER_LOG, LOGGED = "broker/headrace_broker/logs.py", "tests/unit/test_logs.py"
FIGURES = f"{CLI}/top_figures.py"
SCREEN = f"{CLI}/top_screen.py"
UNIT = "tests/unit/test_top.py"
LIVE = "tests/client/test_top.py"
CELLS = "tests/unit/test_cells.py"
GRANTS = "tests/rpc/test_permissions.py"
MISTAKES = "tests/client/test_cli.py"
CHANNEL = "client/headrace_client/channel.py"

MUTANTS = (
    Mutant("names steer the terminal", TERMINAL, "_STEERING_OR_BREAKING.sub(_escape, text)", "text", f"{UNIT} -k steer"),
    Mutant("texts steer the terminal", TERMINAL, "else _STEERING.sub(_escape, text)", "else text", "tests/unit/test_printing.py -k escapes"),
    Mutant("JSON steers the terminal", TERMINAL, "return _STEERING.sub(_escape_of_json, text)", "return text", "tests/unit/test_printing.py -k json"),
    Mutant("values steer who reads the broker's log", BROKER_LOG, "one_line(value) if isinstance(value, str) else value", "value", LOGGED),
    Mutant("errors steer who reads the broker's log", BROKER_LOG, "sio.write(harmless(text.getvalue()))", "sio.write(text.getvalue())", LOGGED),
    Mutant("what libraries say steers who reads the broker's log", BROKER_LOG, "return harmless(super().format(record))", "return super().format(record)", LOGGED),
    Mutant("raw bytes steer the terminal", f"{CLI}/printing.py", "    if sys.stdout.isatty():", "    if False:", "tests/client/test_cli_edges.py -k bytes_are_exact"),
    Mutant("a log line writes lines of its own", f"{CLI}/jobs.py", 'line.text.replace("\\n", "\\n    ")', "line.text", "tests/client/test_cli_edges.py -k steer"),
    Mutant(
        "errors of the graph steer the terminal", f"{CLI}/trees.py", "text.append(harmless(f\" {job.error", "text.append(str(f\" {job.error",
        "tests/client/test_cli_edges.py -k steer",
    ),
    Mutant(
        "a terminal is not given back", f"{CLI}/terminal.py", "TracebackType | None) -> None:\n        self.give_back()", "TracebackType | None) -> None:\n        pass",
        f"{UNIT} -k as_it_was",
    ),
    Mutant("a terminal is not given back for the shell", f"{CLI}/top.py", "        self._terminal.give_back()\n", "", f"{LIVE} -k suspended"),
    Mutant(
        "what ended the broker ends the view", f"{CLI}/top.py", "            except HeadraceError as error:\n                self._error = error\n",
        "            except ZeroDivisionError:\n                pass\n", f"{LIVE} -k comes_back",
    ),
    Mutant("rates go on over missing minutes", FIGURES, "not 0 <= now_s - self._rounds[-1].at_s < FORGOTTEN_S", "False", f"{UNIT} -k far_apart or set_back"),
    Mutant("rates never fall to nothing", FIGURES, "if writes and last.at_s - writes[-1].at_s <= WRITTEN_S else", "if writes else", f"{UNIT} -k falls_to_nothing"),
    Mutant("jobs that cannot start wait longest", FIGURES, "if job.wait_reason not in NOT_READY:", "if True:", f"{UNIT} -k could_start"),
    Mutant("domains that one may not see are listed", "broker/headrace_broker/rpc/limits.py", " if reach.sees_domain(name)]", "]", f"{GRANTS} -k everybody_is_told"),
    Mutant(
        "domains are listed for who is at home in the call's", "broker/headrace_broker/rpc/access.py", "if need is not None and need.anywhere:", "if False:",
        f"{GRANTS} -k everybody_is_told",
    ),
    Mutant(
        "one domain that is denied hides the others", f"{CLI}/top_calls.py", "            except HeadraceError as error:\n                return error\n",
        "            finally:\n                pass\n", f"{LIVE} -k of_several",
    ),
    Mutant("types of several domains are not told apart", f"{CLI}/top_screen.py", "if DOMAIN in rest and (several or", "if DOMAIN in rest and (", f"{UNIT} -k several"),
    Mutant("hidden jobs are not asked for", f"{CLI}/top_calls.py", "[[], domain.hidden] if domain.hidden else [[]]", "[[]]", f"{LIVE} -k hide"),
    Mutant("keys act while a filter is typed", SCREEN, "    if look.typing:\n        return _typed(look, key)\n", "", f"{UNIT} -k filter"),
    Mutant("types with hidden jobs take turns", f"{CLI}/top_calls.py", "oldest_waits(oldest[:1],", "oldest_waits(oldest,", f"{LIVE} -k hide"),
    Mutant("an empty screen when rows have gone", SCREEN, "first = max(0, min(look.first, len(rows) - space))", "first = look.first", f"{UNIT} -k scroll"),
    Mutant("a table is wider than the terminal", f"{CLI}/tables.py", "while len(kept) > 1 and sum(", "while False and sum(", f"{CELLS} -k fit"),
    Mutant("values of tables steer the terminal", f"{CLI}/tables.py", "return Text(harmless(text), style=style)", "return Text(text, style=style)", f"{CELLS} -k steer"),
    Mutant("clients answer by pings", CHANNEL, '("grpc.http2.bdp_probe", 0)', '("grpc.http2.bdp_probe", 1)', "tests/client/test_channel.py"),
    Mutant("little may be under way to a client", CHANNEL, '4 * 1024 * 1024),  # what may', '65_535),  # what may', "tests/client/test_channel.py"),
    Mutant("a web address is taken for a broker", CHANNEL, 'if "://" in part:', "if False:", f"{MISTAKES} -k mistakes"),
    Mutant(
        "a host that there is not leaves an unknown result", "client/headrace_client/errors.py", '"failed to connect" in said or _unknown_host(said)',
        '"failed to connect" in said', f"{MISTAKES} -k mistakes",
    ),
)  # fmt: skip
