// Handlers of the Node agent in tests. Each start is written to a file in HEADRACE_TEST_DIR, as those of handlers.py are.

import { appendFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const directory = process.env.HEADRACE_TEST_DIR;
const note = (what, { job_id, lease_epoch }) => appendFileSync(join(directory, "ran.txt"), `${what} ${job_id} ${lease_epoch} ${process.pid} ${Date.now() / 1000}\n`);

export default {
  "not-for-ages": async () => {
    throw Object.assign(new Error("later"), { retryAfterS: Infinity });
  },

  "half-a-character": async () => {
    throw Object.assign(new Error("half \ud800"), { permanent: true });
  },

  "no-text": async () => {
    throw Object.assign(Object.create(null), { permanent: true });
  },

  echo: async (data, { job }) => {
    note("start", job);
    return data;
  },

  // Runs until the file exists.
  gate: async (name, { job, signal }) => {
    note("start", job);
    while (!existsSync(join(directory, name))) await sleep(20, undefined, { signal });
    note("end", job);
    return name;
  },

  refuse: async (why) => {
    throw Object.assign(new RangeError(why), { permanent: true });
  },

  "try-again": async (data, { job }) => {
    if (job.attempt < 2) throw Object.assign(new Error("not yet"), { retryAfterS: 0.05 });
    return job.attempt;
  },

  // Forty of them are much more than a message holds.
  large: async (bytes) => "x".repeat(bytes),
};
