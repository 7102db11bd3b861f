"""A wallet service that takes part in sagas: it charges a wallet, and gives the money back.

    pip install -r requirements.txt
    DATABASE_URL=postgres://wallet@127.0.0.1/wallet SAGA_KEY=... python service.py 8081

The database holds schema.sql and the barrier's functions; see ../README.md.
"""

import base64, hashlib, hmac, json, logging, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
from psycopg_pool import ConnectionPool

NAME = "wallet"  # as the orchestrator's configuration names this participant
KEY = os.environ["SAGA_KEY"].encode()
JSON, PROBLEM = "application/json", "application/problem+json"
POOL = ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=16, timeout=5, open=False)


class Answer(Exception):
    """An answer that ends the call: nothing of it is stored, except a refusal of an action."""

    def __init__(self, status, code, detail):
        problem = {"type": f"https://steadfast.dev/problems/{code}", "title": code, "status": status, "detail": detail}
        self.status, self.body = status, json.dumps(problem).encode()

    def whole(self):
        return self.status, {"Content-Type": PROBLEM}, self.body


class Refused(Answer):
    def __init__(self, detail):
        super().__init__(422, "refused", detail)


def verified(headers, op, scope):
    """The call's key, once its bearer vouches for it. Never 400: that would read as a refusal by the business."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    try:
        signed, _, tag = token.rpartition(".")
        head, payload = (json.loads(decode(part)) for part in signed.split("."))
        good = hmac.compare_digest(decode(tag), hmac.digest(KEY, signed.encode(), "sha256"))
        now, iat, exp = time.time(), payload["iat"], payload["exp"]
        if scheme.lower() != "bearer" or not good or head["alg"] != "HS256" or "crit" in head or payload["aud"] != NAME:
            raise ValueError("it was not signed for this service with its key")
        if not iat <= exp <= iat + 60 or now > exp + 5 or iat > now + 5:
            raise ValueError("it is not good at this moment: compare the clocks")
        jti, given = payload["jti"], payload["scope"]
    except (ValueError, KeyError, TypeError) as fault:
        raise Answer(401, "unauthenticated", f"the bearer is not accepted: {fault}") from None
    key = headers.get("Idempotency-Key", "").strip('"')
    if jti != key or given != scope or not key.endswith(f":{op}"):
        raise Answer(403, "forbidden", f"the bearer is for another step, operation or permission than {scope}")
    knows = op == "action" or headers.get("Saga-Action") in ("done", "unknown")
    if not headers.get("Saga-Started", "").isdigit() or not knows:
        raise Answer(403, "forbidden", "Saga-Started, and Saga-Action on compensations, are required")
    return key


def decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def step(headers, body, op, scope, work):
    """The barrier around the work, in one transaction: status, headers and body of the answer."""
    key = verified(headers, op, scope)
    with POOL.connection() as db:  # one transaction: committed at the end of the block, rolled back by an exception
        entered = (key, int(headers["Saga-Started"]), headers.get("Saga-Action"), hashlib.sha256(body).digest())
        row = db.execute("select outcome, status, headers, body from saga_barrier_enter(%s, %s, %s, %s)", entered)
        outcome, status, stored, known = row.fetchone()
        if outcome == "altered":
            logging.error("%s: another body for a step that has run; the stored answer is given", key)
        if outcome != "run":
            return status, stored, known
        try:
            with db.transaction():  # a savepoint: a refusal takes back what the work has written
                status, known = work(db, body, *key.split(":")[:2])
        except Refused as refusal:
            if op == "compensate":  # never refused for good: nothing is stored
                raise
            db.execute("select saga_barrier_refuse(%s, %s, %s, %s)", (key, refusal.status, PROBLEM, refusal.body))
            return refusal.status, {"Content-Type": PROBLEM, "Saga-Outcome": "refused"}, refusal.body
        db.execute("select saga_barrier_leave(%s, %s, %s, %s)", (key, status, JSON, known))
        return status, {"Content-Type": JSON} if known else {}, known


def charge(db, body, saga, step):
    try:
        request = json.loads(body)
        wallet, amount = str(request["wallet"]), int(request["amount"])
    except (ValueError, KeyError, TypeError):
        raise Refused("the body must name wallet and amount") from None
    row = db.execute("select balance from wallet where id = %s for update", (wallet,)).fetchone()
    if row is None or amount <= 0:
        raise Refused("there is no such wallet, or the amount is not above zero")
    db.execute("insert into wallet_entry values (%s, %s, %s, %s)", (saga, step, wallet, -amount))
    if row[0] < amount:
        raise Refused("the wallet is not covered")
    db.execute("update wallet set balance = balance - %s where id = %s", (amount, wallet))
    return 201, json.dumps({"charged": amount}).encode()


def give_back(db, body, saga, step):
    back = "insert into wallet_entry select saga, step, wallet, -amount from wallet_entry where saga = %s and step = %s returning wallet, amount"
    for wallet, amount in db.execute(back, (saga, step)).fetchall():
        db.execute("update wallet set balance = balance + %s where id = %s", (amount, wallet))
    return 204, None


ROUTES = {"/saga/charges": ("action", "wallet.charge", charge), "/saga/charges/cancel": ("compensate", "wallet.charge", give_back)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if self.path not in ROUTES:
                raise Answer(404, "not-found", "no such route")
            answer = step(self.headers, body, *ROUTES[self.path])
        except Answer as said:
            answer = said.whole()
        except psycopg.errors.UniqueViolation:  # another call of this step was faster: a repeat hears its answer
            answer = Answer(409, "in-flight", "another call of this step was faster: ask again").whole()
        except psycopg.Error:  # also a commit whose answer was lost: a repeat is told by the barrier
            logging.exception("the database failed")
            answer = Answer(503, "unavailable", "the database does not answer: ask again").whole()
        status, headers, body = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    POOL.open(wait=True)
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
