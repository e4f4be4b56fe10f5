// Job types that the example agent serves: `node agent.mjs handlers.mjs`.
//
// A handler gets the job's data, the job itself and a signal. What it returns is the result; what it throws fails the attempt, for good if the error says `permanent: true`,
// and is tried again after its `retryAfterS`, or by the rule of the job type. When the signal is aborted (an abort, the timeout, the end of the lease) it should throw soon.

import { setTimeout as sleep } from "node:timers/promises";

export default {
  "node.greet": async ({ name }, { job }) => `Hello ${name}, attempt ${job.attempt}`,

  "node.sleep": async ({ seconds }, { signal }) => {
    await sleep(1000 * seconds, undefined, { signal });
    return seconds;
  },

  "node.refuse": async ({ why }) => {
    throw Object.assign(new Error(why), { permanent: true });
  },
};
