// One worker process of a queue for Node, for peers.py: NAME DSN JOBS SETTINGS (JSON). Prints the seconds from the first handler to the last settled job.
//
// Jobs are submitted before, in bulk. Each queue runs as its documentation recommends for throughput; which settings of those that were tried is told in peers.py.

import { setTimeout as sleep } from "node:timers/promises";

import pg from "pg";

const [name, dsn, jobs, settings] = [process.argv[2], process.argv[3], Number(process.argv[4]), JSON.parse(process.argv[5])];
const AT_ONCE = 1000; // jobs of one submit
const connectionString = dsn.replace("@/", "@localhost/"); // a host is wanted before the path; then that of the query, the socket's directory, is taken all the same
let started = 0;
let done = 0;

function handler() {
  started ||= performance.now();
  done++;
}

async function* batches() {
  for (let first = 0; first < jobs; first += AT_ONCE) yield Array.from({ length: Math.min(AT_ONCE, jobs - first) }, () => ({ n: 1 }));
}

/** Waits until every handler has run and the query, which gives the number of jobs that are not settled, says 0; then stops the clock. */
async function seconds(query) {
  const client = new pg.Client({ connectionString });
  await client.connect();
  while (done < jobs) await sleep(5);
  while ((await client.query(query)).rows[0].left !== 0) await sleep(5);
  const elapsed = (performance.now() - started) / 1000;
  await client.end();
  return elapsed;
}

/** What autovacuum does in a while for a queue that is not a second old. */
async function analyze() {
  const client = new pg.Client({ connectionString });
  await client.connect();
  await client.query("analyze");
  await client.end();
}

async function graphileWorker() {
  const { Logger, makeWorkerUtils, run } = await import("graphile-worker");
  const logger = new Logger(() => () => {});
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  for await (const batch of batches()) await utils.addJobs(batch.map((payload) => ({ identifier: "bench", payload })));
  await utils.release();
  await analyze();
  const runner = await run({ preset: { worker: { connectionString, ...settings } }, logger, noHandleSignals: true, taskList: { bench: async () => handler() } });
  const elapsed = await seconds("select count(*)::int as left from graphile_worker._private_jobs");
  await runner.stop();
  return elapsed;
}

async function pgBoss() {
  const { PgBoss } = await import("pg-boss");
  const { pool, ...options } = settings;
  const boss = new PgBoss({ connectionString, max: pool, supervise: false, schedule: false });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  await boss.createQueue("bench");
  for await (const batch of batches()) await boss.insert("bench", batch.map((data) => ({ data })));
  await analyze();
  await boss.work("bench", options, async (batch) => batch.forEach(handler)); // with a batch size the handler gets the whole batch
  return seconds("select count(*)::int as left from pgboss.job where name = 'bench' and state <> 'completed'");
}

console.log(await { "graphile-worker": graphileWorker, "pg-boss": pgBoss }[name]());
process.exit(0);
