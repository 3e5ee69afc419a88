"""Receives OpenTelemetry logs over OTLP/HTTP as JSON, by the official definitions, and prints them: first the port, then each request on a line."""

import gzip
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


class Logs(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        try:
            # Fields that the definitions do not have are an error.
            logs = json_format.Parse(body, ExportLogsServiceRequest())
            status, answer = 200, {}
            said = {"path": self.path, "logs": json_format.MessageToDict(logs)}
        except json_format.ParseError as error:
            status, answer = 400, {"message": str(error)}
            said = {"path": self.path, "error": str(error)}
        print(json.dumps(said), flush=True)
        answer = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Logs)
print(server.server_port, flush=True)
server.serve_forever()
