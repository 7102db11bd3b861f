// A seat service that takes part in sagas: it reserves a seat, and frees it again.
//
//     npm ci
//     DATABASE_URL=postgres://seats@127.0.0.1/seats SAGA_KEY=... node service.js 8082
//
// The database holds schema.sql and the barrier's functions; see ../README.md.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import pg from "pg";

const NAME = "seats"; // as the orchestrator's configuration names this participant
const KEY = process.env.SAGA_KEY;
const JSON_TYPE = "application/json";
const PROBLEM = "application/problem+json";
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 16, connectionTimeoutMillis: 5000 });
pool.on("connect", (db) => db.on("error", (error) => console.error("a connection was lost:", error.message)));
pool.on("error", () => {}); // told above; without this the process would end

// An answer that ends the call: nothing of it is stored, except a refusal of an action.
class Answer extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.headers = { "Content-Type": PROBLEM };
    this.body = Buffer.from(JSON.stringify({ type: `https://steadfast.dev/problems/${code}`, title: code, status, detail }));
  }
}

const refuse = (detail) => new Answer(422, "refused", detail);

// The call's key, once its bearer vouches for it. Never 400: that would read as a refusal by the business.
function verified(headers, op, scope) {
  const [, token] = /^bearer (.+)$/i.exec(headers.authorization ?? "") ?? [];
  const claims = token && claimsOf(token);
  if (!claims) throw new Answer(401, "unauthenticated", "the bearer is not accepted: compare names, keys and clocks");
  const key = (headers["idempotency-key"] ?? "").replace(/^"|"$/g, "");
  if (claims.jti !== key || claims.scope !== scope || !key.endsWith(`:${op}`)) {
    throw new Answer(403, "forbidden", `the bearer is for another step, operation or permission than ${scope}`);
  }
  if (!/^\d+$/.test(headers["saga-started"] ?? "") || (op === "compensate" && !/^(done|unknown)$/.test(headers["saga-action"]))) {
    throw new Answer(403, "forbidden", "Saga-Started, and Saga-Action on compensations, are required");
  }
  return key;
}

function claimsOf(token) {
  try {
    const [head, payload, tag, rest] = token.split(".");
    const expected = createHmac("sha256", KEY).update(`${head}.${payload}`).digest();
    const given = Buffer.from(tag, "base64url");
    if (rest !== undefined || given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
    const { alg, crit } = JSON.parse(Buffer.from(head, "base64url"));
    const claims = JSON.parse(Buffer.from(payload, "base64url"));
    const now = Date.now() / 1000;
    const timely = claims.iat <= claims.exp && claims.exp <= claims.iat + 60 && now <= claims.exp + 5 && claims.iat <= now + 5;
    return alg === "HS256" && crit === undefined && claims.aud === NAME && timely ? claims : null;
  } catch {
    return null;
  }
}

// The barrier around the work, in one transaction: status, headers and body of the answer.
async function step(headers, body, [op, scope, work]) {
  const key = verified(headers, op, scope);
  const db = await pool.connect();
  let broken; // a connection that has failed is not used again; closing it rolls back
  try {
    await db.query("begin isolation level read committed");
    const answer = await within(db, headers, body, key, op, work);
    await db.query("commit");
    return answer;
  } catch (error) {
    await db.query("rollback").catch((lost) => (broken = lost));
    throw error;
  } finally {
    db.release(broken);
  }
}

async function within(db, headers, body, key, op, work) {
  const request = createHash("sha256").update(body).digest();
  const entered = [key, headers["saga-started"], headers["saga-action"], request];
  const { rows: [known] } = await db.query("select * from saga_barrier_enter($1, $2, $3, $4)", entered);
  if (known.outcome === "altered") console.error(`${key}: another body for a step that has run; the stored answer is given`);
  if (known.outcome !== "run") return known;
  await db.query("savepoint work");
  try {
    const answer = await work(db, body, ...key.split(":"));
    await db.query("select saga_barrier_leave($1, $2, $3, $4)", [key, answer.status, JSON_TYPE, answer.body]);
    return answer;
  } catch (refusal) {
    // A compensation is never refused for good: nothing is stored.
    if (!(refusal instanceof Answer) || op === "compensate") throw refusal;
    await db.query("rollback to savepoint work");
    await db.query("select saga_barrier_refuse($1, $2, $3, $4)", [key, refusal.status, PROBLEM, refusal.body]);
    return { ...refusal, headers: { ...refusal.headers, "Saga-Outcome": "refused" } };
  }
}

async function reserve(db, body, saga, name) {
  let seat;
  try {
    ({ seat } = JSON.parse(body));
  } catch {
    throw refuse("the body is not JSON");
  }
  if (typeof seat !== "string") throw refuse("the body must name a seat");
  const { rows: [row] } = await db.query("select holder from seat where id = $1 for update", [seat]);
  if (!row) throw refuse("there is no such seat");
  await db.query("insert into seat_event values ($1, $2, $3, 'reserved')", [saga, name, seat]);
  if (row.holder) throw refuse("the seat is taken");
  await db.query("update seat set holder = $1 where id = $2", [saga, seat]);
  return { status: 201, headers: { "Content-Type": JSON_TYPE }, body: Buffer.from(JSON.stringify({ reserved: seat })) };
}

async function free(db, body, saga, name) {
  const back = "insert into seat_event select saga, step, seat, 'freed' from seat_event where saga = $1 and step = $2 returning seat";
  const { rows } = await db.query(back, [saga, name]);
  for (const { seat } of rows) await db.query("update seat set holder = null where id = $1 and holder = $2", [seat, saga]);
  return { status: 204, headers: {}, body: null };
}

const ROUTES = {
  "POST /saga/seats": ["action", "seat.reserve", reserve],
  "POST /saga/seats/cancel": ["compensate", "seat.reserve", free],
};

const server = createServer(async (request, response) => {
  let answer;
  try {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const route = ROUTES[`${request.method} ${request.url}`];
    if (!route) throw new Answer(404, "not-found", "no such route");
    answer = await step(request.headers, Buffer.concat(chunks), route);
  } catch (error) {
    answer = error;
    if (error.code === "23505") answer = new Answer(409, "in-flight", "another call of this step was faster: ask again");
    else if (!(error instanceof Answer)) {
      console.error(error); // also a commit whose answer was lost: a repeat is told by the barrier
      answer = new Answer(503, "unavailable", "the service does not answer at present: ask again");
    }
  }
  const length = answer.status === 204 ? {} : { "Content-Length": answer.body?.length ?? 0 };
  response.writeHead(answer.status, { ...answer.headers, ...length }).end(answer.body ?? undefined);
});

server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
