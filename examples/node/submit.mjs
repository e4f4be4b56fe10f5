// Submits jobs and, if asked, waits for them:
//
//   node submit.mjs TYPE [JSON] [--key KEY] [--instance ID] [--count N] [--wait]
//
// Prints the id of each job, or its end as a line of JSON. Exit code 1 when a job was refused or did not complete.

import { parseArgs } from "node:util";

import { backoff, Brokers, duration, json, NOTHING_STORED, refusal } from "./headrace.mjs";

const AT_ONCE = 1000; // of at most 10,000 jobs and 16 MiB that a call may carry

/** Stores one job; resolves to its id once it is durable. With a key it may be sent any number of times, and is one job. */
async function submit(brokers, job) {
  const answer = await brokers.call("Jobs", "Submit", { job }, { repeatable: job.idempotency_key !== "" });
  return answer.job_id;
}

/** Stores many; each is accepted or refused by itself. Resolves to their ids in order, and to an Error in the place of a refused one. */
async function submitMany(brokers, jobs, timeoutS = 60) {
  const found = [];
  const until = performance.now() + 1000 * timeoutS;
  let left = jobs.map((_, index) => index);
  for (let failures = 0; left.length; ) {
    const sent = left.splice(0, AT_ONCE);
    const repeatable = sent.every((index) => jobs[index].idempotency_key !== "");
    const { results } = await brokers.call("Jobs", "SubmitMany", { jobs: sent.map((index) => jobs[index]) }, { repeatable });
    sent.forEach((index, position) => (found[index] = results.job_ids[position]));
    for (const { index, reason, message } of results.failures) found[sent[index]] = new Error(`${reason}: ${message}`);
    // The broker has enough in hand, or is not the owner: nothing was stored of these, and they are sent again a little later.
    const again = results.failures.filter(({ reason }) => NOTHING_STORED.has(reason));
    if (again.length && performance.now() < until) {
      left = [...again.map(({ index }) => sent[index]), ...left];
      if (again.some(({ reason }) => reason !== "BUSY")) brokers.next();
      await backoff(++failures);
    } else failures = 0;
  }
  return found;
}

/** The job once it has settled. The broker answers after `wait` at the latest, so that no call is open for ever. */
async function settled(brokers, job_id) {
  for (;;) {
    const { job } = await brokers.call("Jobs", "WaitJob", { job_id, wait: duration(20), view: "JOB_VIEW_FULL" }, { repeatable: true });
    if (!["JOB_STATE_WAITING", "JOB_STATE_PROCESSING"].includes(job.state)) return job;
  }
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { key: { type: "string", default: "" }, instance: { type: "string", default: "" }, count: { type: "string" }, wait: { type: "boolean" } },
  });
  const [type, data = "null"] = positionals;
  if (!type) throw new Error("usage: node submit.mjs TYPE [JSON] [--key KEY] [--instance ID] [--count N] [--wait]");
  const job = { type, payload: json(JSON.parse(data)), idempotency_key: values.key, instance_id: values.instance };
  const brokers = new Brokers();
  const one = async () => [await submit(brokers, job)];
  const numbered = (number) => ({ ...job, idempotency_key: values.key && `${values.key}-${number}` });
  const many = () => submitMany(brokers, Array.from({ length: Number(values.count) }, (_, number) => numbered(number)));
  for (const job_id of await (values.count ? many() : one())) {
    if (job_id instanceof Error) {
      console.error(job_id.message);
      process.exitCode = 1;
    } else if (values.wait) {
      const { state, result, error } = await settled(brokers, job_id);
      console.log(JSON.stringify({ job_id, state, result: result.length ? JSON.parse(result) : null, error: error?.message }));
      if (state !== "JOB_STATE_COMPLETED") process.exitCode = 1;
    } else console.log(job_id);
  }
  brokers.close();
}

main().catch((error) => {
  const { reason, message } = refusal(error);
  console.error(reason ? `${reason}: ${message}` : message);
  process.exit(1);
});
