// An agent: serves job types over one stream to the broker, until SIGTERM drains it.
//
//   node agent.mjs HANDLERS.mjs [--name NAME] [--slots N] [--drain-timeout-s S]
//
// docs/other-languages.md tells the protocol; the comments here say why each step is as it is.

import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { hostname, uptime } from "node:os";
import { resolve as absolute } from "node:path";
import { pathToFileURL } from "node:url";
import { inspect, parseArgs } from "node:util";

import { backoff, Brokers, duration, json, refusal, seconds } from "./headrace.mjs";

const OUTCOMES_AT_ONCE = 1000;
const OUTCOME_BYTES = 4 * 1024 * 1024; // of one message, which may have 16 MiB
const DELIVERY_S = 5; // how long a drained agent waits for its last acknowledgements
const MOST_DELAY_S = 3650 * 86_400; // a broker ends the stream over a longer one, each time that it comes
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const FINAL = new Set(["ACCEPTED", "ACCEPTED_LATE", "ALREADY_APPLIED", "SUPERSEDED", "UNKNOWN"].map((name) => `DISPOSITION_${name}`));
// How an attempt ends whose handler threw because it was told to stop.
const STOPPED = { abort: ["OUTCOME_KIND_ABORTED", "aborted"], timeout: ["OUTCOME_KIND_TIMED_OUT", "timeout"], drain: ["OUTCOME_KIND_RELEASED", "released"] };

// Milliseconds of a clock that no step of the wall clock changes, and that goes on while the machine is suspended, as leases do: performance.now() stands still then.
const now = () => 1000 * uptime();
const keyOf = ({ job_id, lease_epoch }) => `${job_id}/${lease_epoch}`;
const log = (text) => console.error(text);

class Agent {
  #attempts = new Map(); // by job and lease epoch: what runs, and what has ended and is not acknowledged
  #running = 0; // handlers: slots in use
  #stream = null;
  #draining = false;
  #over = false;
  #changed = new EventEmitter();
  #incarnation = randomUUID(); // one life of this process: by it the broker knows the session again after a broken connection

  constructor(name, handlers, slots) {
    Object.assign(this, { name, handlers, slots, brokers: new Brokers() });
  }

  /** Keeps a stream up until the agent is drained. */
  async run() {
    const watch = setInterval(() => this.#endLeases(), 50);
    for (let failures = 0; !this.#over; ) {
      const { pauseS, welcomed } = await this.#connect();
      failures = welcomed ? 0 : failures + 1;
      if (!this.#over) await backoff(failures, pauseS);
    }
    clearInterval(watch);
    this.brokers.close();
  }

  /** Finishes what runs, within a time, and takes no more; resolves to whether everything was delivered. */
  async drain(timeoutS) {
    this.#draining = true;
    this.#wake();
    if (!(await this.#until(() => this.#running === 0, timeoutS))) {
      log(`giving back ${this.#running} jobs that did not finish within ${timeoutS} s`);
      for (const attempt of this.#attempts.values()) this.#stop(attempt, "drain");
    }
    await this.#until(() => this.#attempts.size === 0, DELIVERY_S);
    await this.#deliverWithoutStream();
    this.#over = true;
    this.#stream?.call.end();
    return this.#attempts.size === 0;
  }

  // The stream -----------------------------------------------------------------------------------------------------------------------------------

  /** One stream from its Hello to its end. */
  #connect() {
    const { address, Agents } = this.brokers.current;
    const call = Agents.Connect(this.brokers.metadata); // without a deadline: heartbeats and keepalive tell whether the other side is there
    const stream = { call, address, number: 0, sentAt: new Map(), confirmedAt: 0, assignNo: 0, acceptedNo: 0, rejected: [], credit: "", writing: false };
    const held = [...this.#attempts.values()].map(({ job }) => ({ job_id: job.job_id, lease_epoch: job.lease_epoch }));
    this.#stream = stream;
    this.#write({
      hello: {
        agent_name: this.name, incarnation_id: this.#incarnation, host: hostname(), pid: process.pid, sdk: "headrace-node-example", slots: this.slots, held,
        types: Object.keys(this.handlers).map((type) => ({ type, executor: "async" })),
      },
    });
    return new Promise((resolve) => {
      call.on("data", (message) => this.#receive(stream, message));
      call.on("error", (error) => {
        const { reason, message } = refusal(error);
        log(`no session with ${address}: ${reason} ${message}`);
        this.brokers.next();
      });
      call.on("status", () => {
        clearInterval(stream.beats);
        this.#stream = null;
        for (const attempt of this.#attempts.values()) attempt.sent = false; // an outcome that was not acknowledged goes out again on the next stream
        resolve({ pauseS: stream.pauseS, welcomed: stream.welcomed });
      });
    });
  }

  #welcome(stream, { lease, heartbeat, not_held, seen_no, resumed }) {
    stream.welcomed = true;
    stream.leaseMs = 1000 * seconds(lease);
    stream.marginMs = Math.min(2000, 100 + 0.05 * stream.leaseMs); // for the handler to stop before its lease can have ended
    not_held.forEach((ref) => this.#lose(ref));
    this.#confirm(stream, seen_no);
    const everyMs = 1000 * seconds(heartbeat);
    stream.beats = setInterval(() => {
      // A connection may be dead without anybody saying so: then the stream is given up, and the next one resumes the session.
      if (now() - stream.heardAt > Math.max(stream.leaseMs, 3 * everyMs)) return stream.call.cancel();
      stream.beatDue = true;
      this.#flush();
    }, 0.9 * everyMs);
    log(`session with ${stream.address} (${resumed ? "resumed" : "new"})`);
  }

  #receive(stream, message) {
    stream.heardAt = now();
    if (message.welcome) this.#welcome(stream, message.welcome);
    if (message.heartbeat_ack) {
      message.heartbeat_ack.not_held.forEach((ref) => this.#lose(ref));
      this.#confirm(stream, message.heartbeat_ack.seen_no);
    }
    if (message.assign) this.#assigned(stream, message.assign);
    for (const ack of message.outcome_acks) {
      const attempt = this.#attempts.get(keyOf(ack));
      if (FINAL.has(ack.disposition)) this.#attempts.delete(keyOf(ack));
      else if (attempt) setTimeout(() => ((attempt.sent = false), this.#wake()), 200); // NOT_OWNER: this broker cannot tell now
    }
    for (const { lease, reason } of message.aborts) this.#stop(this.#attempts.get(keyOf(lease)), "abort", reason);
    message.revoked.forEach((ref) => this.#lose(ref));
    if (message.go_away) {
      log(`${stream.address} ends the session: ${message.go_away.reason}`);
      stream.pauseS = seconds(message.go_away.reconnect_after);
      this.#over ||= message.go_away.stay_away;
    }
    this.#wake();
  }

  /** The broker owned our leases when it had seen this message: they count from when we sent it, not from now, however long the answer took. */
  #confirm(stream, number) {
    const at = stream.sentAt.get(number);
    if (at === undefined || at <= stream.confirmedAt) return;
    stream.confirmedAt = at;
    for (const older of stream.sentAt.keys()) {
      if (older === number) break; // a Map keeps the order of insertion
      stream.sentAt.delete(older);
    }
    for (const attempt of this.#attempts.values()) attempt.until = Math.max(attempt.until, at + stream.leaseMs - stream.marginMs);
  }

  #assigned(stream, { number, seen_no, jobs }) {
    stream.assignNo = number;
    const from = Math.max(stream.sentAt.get(seen_no) ?? 0, stream.confirmedAt);
    const until = from + stream.leaseMs - stream.marginMs;
    for (const job of jobs) {
      const why = now() >= until ? "its lease was over when it arrived" : this.#draining ? "the agent drains" : !Object.hasOwn(this.handlers, job.type) && "not served";
      if (why) stream.rejected.push({ lease: { job_id: job.job_id, lease_epoch: job.lease_epoch }, reason: why });
      else this.#run({ job, until, stop: null, outcome: null, sent: false, controller: new AbortController() });
    }
  }

  /** Writes what is due: one write at a time, and whatever comes up meanwhile is the next message. A message costs far more than an entry in it. */
  #flush() {
    const stream = this.#stream;
    if (!stream?.welcomed || stream.writing || this.#over) return;
    const message = this.#due(stream);
    if (message) this.#write(message);
  }

  #wake() {
    this.#changed.emit("changed");
    setImmediate(() => this.#flush()); // after everything else that this turn of the event loop brings
  }

  #write(message) {
    const stream = this.#stream;
    const number = String(++stream.number);
    stream.writing = true;
    stream.sentAt.set(number, now()); // before it is sent: an earlier time only makes a lease shorter
    stream.call.write({ number, ...message }, () => {
      stream.writing = false;
      this.#flush();
    });
  }

  #due(stream) {
    const message = {};
    const attempts = [...this.#attempts.values()];
    const ended = attempts.filter(({ outcome, sent }) => outcome && !sent).slice(0, OUTCOMES_AT_ONCE);
    let bytes = 0;
    const outcomes = ended.filter(({ outcome }, index) => (bytes += outcome.result?.length ?? 0) <= OUTCOME_BYTES || index === 0);
    if (outcomes.length) message.outcomes = outcomes.map((attempt) => ((attempt.sent = true), attempt.outcome));
    if (stream.assignNo > stream.acceptedNo || stream.rejected.length) {
      message.accept = { assign_no: (stream.acceptedNo = stream.assignNo), rejected: stream.rejected.splice(0) };
    }
    if (stream.beatDue) {
      stream.beatDue = false; // it names everything we hold, also what has ended and is not acknowledged
      message.heartbeat = { job_ids: attempts.map(({ job }) => job.job_id), lease_epochs: attempts.map(({ job }) => job.lease_epoch) };
    }
    if (this.#draining && !stream.saidDraining) message.draining = stream.saidDraining = true;
    const credit = { assign_no: stream.assignNo, free: this.#draining ? 0 : Math.max(0, this.slots - this.#running) };
    if (stream.credit !== JSON.stringify(credit)) {
      stream.credit = JSON.stringify(credit);
      message.credit = credit;
    }
    return Object.keys(message).length ? message : null;
  }

  // The work -------------------------------------------------------------------------------------------------------------------------------------

  async #run(attempt) {
    const { job, controller } = attempt;
    this.#attempts.set(keyOf(job), attempt);
    this.#running++;
    log(`begin ${job.type} ${keyOf(job)}`);
    const timeout = setTimeout(() => this.#stop(attempt, "timeout"), Math.min(Number(job.timeout_ms), LONGEST_TIMER_MS));
    const name = { job_id: job.job_id, lease_epoch: job.lease_epoch };
    try {
      const data = ["", "application/json"].includes(job.content_type) ? JSON.parse(job.payload.length ? job.payload : "null") : job.payload;
      const result = await this.handlers[job.type](data, { job, signal: controller.signal });
      attempt.outcome = { ...name, kind: "OUTCOME_KIND_COMPLETED", result: json(result) }; // also when it was told to stop: it is done, and the broker decides
    } catch (error) {
      attempt.outcome = { ...name, ...ending(error, attempt.stop) };
      if (attempt.stop === "lease") this.#attempts.delete(keyOf(job)); // stopped because the job is no longer ours: nothing to report
    }
    clearTimeout(timeout);
    this.#running--;
    this.#wake();
  }

  #stop(attempt, why, reason = why) {
    if (!attempt || attempt.outcome || attempt.stop === "lease") return;
    attempt.stop = attempt.stop && why !== "lease" ? attempt.stop : why;
    log(`stop ${attempt.job.type} ${keyOf(attempt.job)}: ${reason}`);
    attempt.controller.abort(new Error(reason)); // a handler that does not listen cannot be killed: its slot stays taken, and its lease held, until it ends
  }

  #lose(ref) {
    this.#stop(this.#attempts.get(keyOf(ref)), "lease", "the lease was lost");
  }

  /** Stops what is not surely ours any more. The broker cannot do that for us: it may be the one that we no longer hear. */
  #endLeases() {
    const at = now();
    for (const attempt of this.#attempts.values()) if (at >= attempt.until) this.#lose(attempt.job);
  }

  /** What the stream did not get rid of goes to each broker by a unary call: an outcome needs no session. */
  async #deliverWithoutStream() {
    const outcomes = [...this.#attempts.values()].flatMap(({ outcome }) => outcome ?? []);
    if (!outcomes.length) return;
    const request = { incarnation_id: this.#incarnation, outcomes };
    const { acks } = await this.brokers.call("Agents", "ReportOutcomes", request, { repeatable: true, timeoutS: DELIVERY_S }).catch(() => ({ acks: [] }));
    for (const ack of acks) if (FINAL.has(ack.disposition)) this.#attempts.delete(keyOf(ack));
  }

  /** Resolves to true once `check` holds, to false when the time is over. */
  async #until(check, timeoutS) {
    const signal = AbortSignal.timeout(1000 * timeoutS);
    while (!check() && !signal.aborted) await once(this.#changed, "changed", { signal }).catch(() => null);
    return check();
  }
}

/** The outcome of a handler that threw. */
function ending(error, stop) {
  const [kind, code] = STOPPED[stop] ?? ["OUTCOME_KIND_FAILED", error?.name];
  // Anything may be thrown, also what has no text; and half a character, which UTF-8 cannot hold, would end the stream again and again.
  const cut = (text, most) => Buffer.from((typeof text === "object" ? inspect(text) : String(text ?? "")).slice(0, most)).toString();
  return {
    kind,
    error: { code: cut(code, 200), message: cut(error?.message ?? error ?? "undefined", 8000), traceback: cut(error?.stack, 64_000) },
    permanent: error?.permanent === true,
    ...(error?.retryAfterS > 0 && { retry_after: duration(Math.min(error.retryAfterS, MOST_DELAY_S)) }),
  };
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { name: { type: "string", default: "node" }, slots: { type: "string", default: "10" }, "drain-timeout-s": { type: "string", default: "30" } },
});
const { default: handlers } = await import(pathToFileURL(absolute(positionals[0])));
const agent = new Agent(values.name, handlers, Number(values.slots));
let drained = null;
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    if (drained) process.exit(1); // the second one: at once; the leases end, and the jobs are granted again
    log("draining");
    drained = agent.drain(Number(values["drain-timeout-s"]));
  });
}
await agent.run();
process.exit((await (drained ?? agent.drain(Number(values["drain-timeout-s"])))) ? 0 : 1);
