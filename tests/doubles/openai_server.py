#!/usr/bin/env python3
"""A double of an OpenAI-compatible server, for tests: it computes nothing and says so nowhere but here.

    openai_server.py --port N [--fault NAME] [--ready-after SECONDS] [--token-ms MS]

Token i of an answer is the text "t<i> ". Faults: `short` (a token too few), `prompt` (counts a prompt token too many), `stop`
(another finish reason), `usage` (no counts at all), `usage-short` (no counts and an event too few), `half` (closes in the middle of a
stream), `no-done` (ends a stream without [DONE]), `error` (an error inside the stream), `500`, `404`, `silent` (never answers),
`stall` (stops in the middle of a stream), `key` (answers only who sends the bearer
`open-sesame-9876`, and says to others what they sent),
`key-stream` (says in its stream what bearer was sent), `die` (its process ends at the first request), `never-ready`, `exit` (ends before it is ready),
`children` (leaves a child in a session of its own that outlives it).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--fault", default=os.environ.get("TACHO_DOUBLE_FAULT", ""))
parser.add_argument("--ready-after", type=float, default=0.0)
parser.add_argument("--token-ms", type=float, default=0.0)
args, _others = parser.parse_known_args()
started = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args):
        pass

    def answer(self, status, body):
        body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refused(self):
        sent = self.headers["Authorization"]
        if args.fault != "key" or sent == "Bearer open-sesame-9876":
            return False
        self.answer(401, json.dumps({"error": {"message": f"{sent} opens nothing here"}}))
        return True

    def do_GET(self):
        if self.refused():
            return
        if self.path == "/health":
            ready = args.fault != "never-ready" and time.monotonic() - started >= args.ready_after
            self.answer(200 if ready else 503, "" if ready else "loading")
        elif self.path == "/v1/models":
            self.answer(200, json.dumps({"object": "list", "data": [{"id": "double", "object": "model"}]}))
        else:
            self.answer(404, "no such page")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        fault = args.fault
        if fault == "die":
            print("the double dies", flush=True)
            os._exit(9)
        if fault == "silent":
            time.sleep(3600)
        if fault in ("404", "500") or self.path != "/v1/completions":
            self.answer(int(fault or 404), json.dumps({"error": {"message": f"the double was told to say {fault}"}}))
            return
        if not (asked["ignore_eos"] and asked["stream"] and asked["min_tokens"] == asked["max_tokens"]):
            self.answer(400, "expected ignore_eos, stream, and min_tokens as max_tokens")
            return
        prompt = asked["prompt"]
        length = len(prompt) if isinstance(prompt, list) else len(prompt.split())
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        tokens = asked["max_tokens"] - (fault in ("short", "usage-short"))
        for token in range(tokens):
            if args.token_ms:
                time.sleep(args.token_ms / 1e3)
            if token == 1 and fault == "half":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if token == 1 and fault == "stall":
                time.sleep(3600)
            if token == 1 and fault == "key-stream":
                self.event({"error": {"message": f"{self.headers['Authorization']} is no longer welcome"}})
                break
            if token == 1 and fault == "error":
                self.event({"error": {"message": "the double ran out of blocks"}})
                break
            finish = ("stop" if fault == "stop" else "length") if token + 1 == tokens else None
            self.event({"choices": [{"index": 0, "text": f"t{token} ", "finish_reason": finish}]})
        if fault not in ("usage", "usage-short"):
            counts = {"prompt_tokens": length + (fault == "prompt"), "completion_tokens": tokens}
            self.event({"choices": [], "usage": counts})
        if fault != "no-done":
            self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, told):
        self.chunk(b"data: " + json.dumps(told).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


if args.fault == "exit":
    sys.exit("the double has no weights")
if args.fault == "children":
    subprocess.Popen(["sleep", "1007"], start_new_session=True)
if any("SECRET" in name for name in os.environ):
    sys.exit("the double was given a secret")
server = ThreadingHTTPServer(("127.0.0.1", args.port), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print("the double listens", flush=True)
threading.Event().wait()
