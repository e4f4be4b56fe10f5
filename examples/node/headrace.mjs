// What submit.mjs and agent.mjs share: the services, read from the .proto files when the program starts, and the rules for calling them again.
//
// Environment: HEADRACE_BROKER (HOST:PORT, several with commas), HEADRACE_DOMAIN, HEADRACE_TOKEN, HEADRACE_TLS_CA, HEADRACE_PROTOS (where the .proto files are).

import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const PROTOS = process.env.HEADRACE_PROTOS ?? fileURLToPath(new URL("../../protos", import.meta.url));
const { headrace } = grpc.loadPackageDefinition(
  loadSync(["headrace_proto/v1/jobs.proto", "headrace_proto/v1/agents.proto"], {
    includeDirs: [PROTOS],
    keepCase: true, // fields are named as in the .proto files
    longs: String, // a job id has 64 bits, more than a number of JavaScript holds
    enums: String,
    defaults: true,
  }),
);
const OPTIONS = {
  "grpc.max_receive_message_length": 16 * 1024 * 1024, // an Assign carries many payloads; gRPC's default of 4 MiB would break the stream
  "grpc.max_send_message_length": 16 * 1024 * 1024,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
};
// After these the broker surely changed nothing, so anything may be sent again, here or at another broker.
export const NOTHING_STORED = new Set(["DATABASE_UNAVAILABLE", "NOT_OWNER", "DRAINING", "BUSY"]);

export const seconds = (duration) => (duration ? Number(duration.seconds) + duration.nanos / 1e9 : 0);
export const duration = (s) => ({ seconds: Math.floor(s), nanos: Math.round((s % 1) * 1e9) });
export const json = (value) => Buffer.from(JSON.stringify(value ?? null));
// Exponential, with jitter, so that many programs do not come back to a restarted broker at the same moment.
export const backoff = (failures, atLeastS = 0) => sleep(1000 * Math.max(atLeastS, Math.min(2, 0.05 * 2 ** failures) * (0.5 + Math.random() / 2)));

/** Why a call failed: the broker's stable reason (empty: gRPC itself failed), the field at fault, when to try again, and what may be done. */
export function refusal(error) {
  const fact = (key) => String(error.metadata?.get(key)[0] ?? "");
  const reason = fact("headrace-reason");
  const neverSent = !reason && error.code === grpc.status.UNAVAILABLE && /no connection established/i.test(error.details);
  return {
    reason,
    field: fact("headrace-field"),
    retryAfterS: Number(fact("headrace-retry-after-ms")) / 1000,
    nothingStored: neverSent || NOTHING_STORED.has(reason),
    unknown: reason ? reason === "RESULT_UNKNOWN" : [grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED, grpc.status.CANCELLED].includes(error.code),
    message: error.details ?? String(error),
  };
}

/** The brokers that may serve us. One of several owns the queue; the others answer NOT_OWNER, and then the next is tried. */
export class Brokers {
  constructor(addresses = process.env.HEADRACE_BROKER ?? "127.0.0.1:7233") {
    const ca = process.env.HEADRACE_TLS_CA;
    const credentials = ca ? grpc.credentials.createSsl(readFileSync(ca)) : grpc.credentials.createInsecure();
    this.metadata = new grpc.Metadata();
    this.metadata.set("headrace-domain", process.env.HEADRACE_DOMAIN ?? "default");
    this.metadata.set("headrace-actor", `node@${hostname()}`);
    if (process.env.HEADRACE_TOKEN) this.metadata.set("authorization", `Bearer ${process.env.HEADRACE_TOKEN}`);
    this.all = addresses.split(",").map((address) => ({
      address,
      Jobs: new headrace.v1.Jobs(address, credentials, OPTIONS),
      Agents: new headrace.v1.Agents(address, credentials, OPTIONS),
    }));
  }

  get current() {
    return this.all[0];
  }

  next() {
    this.all.push(this.all.shift());
  }

  close() {
    for (const { Jobs, Agents } of this.all) [Jobs, Agents].forEach((stub) => stub.close());
  }

  /** A unary call, made again while the time lasts: always when nothing was stored; when nobody knows, only if it is `repeatable`. */
  async call(service, method, request, { repeatable = false, timeoutS = 30 } = {}) {
    const until = performance.now() + 1000 * timeoutS;
    for (let failures = 1; ; failures++) {
      const deadline = Date.now() + Math.max(1, until - performance.now()); // every unary call has one
      const stub = this.current[service];
      try {
        return await new Promise((resolve, reject) => {
          stub[method](request, this.metadata, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
        });
      } catch (error) {
        const { nothingStored, unknown, retryAfterS } = refusal(error);
        if (!(nothingStored || (repeatable && unknown)) || performance.now() > until) throw error;
        this.next();
        await backoff(failures, retryAfterS);
      }
    }
  }
}
