"""Receives OpenTelemetry logs, traces and metrics over OTLP/HTTP, as JSON or protobuf, by the official definitions, and prints them: first the port, then
each request on a line."""

import base64
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format, message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {"logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest, "traces": ExportTraceServiceRequest}

# A request is received in a thread of its own, and its line is whole.
PRINTING = threading.Lock()

# OTLP has these as hexadecimal digits, and protobuf's own JSON as base64.
IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}


def with_ids(value, convert):
    if isinstance(value, list):
        return [with_ids(item, convert) for item in value]
    if isinstance(value, dict):
        return {k: convert(v, IDS[k]) if k in IDS else with_ids(v, convert) for k, v in value.items()}
    return value


def from_hex(text, digits):
    if len(text) not in (0, digits) or text != text.lower():
        raise ValueError(f"{text!r} is not {digits} hexadecimal digits")
    return base64.b64encode(bytes.fromhex(text)).decode()


def to_hex(text, digits):
    return base64.b64decode(text).hex()


def read(kind, content_type, body):
    if content_type == "application/x-protobuf":
        return kind.FromString(body)
    # Fields that the definitions do not have are an error.
    return json_format.ParseDict(with_ids(json.loads(body), from_hex), kind())


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers["content-length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_POST(self):
        body = self.body()
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        kind = self.path.rsplit("/", 1)[-1]
        try:
            received = read(KINDS[kind], self.headers["content-type"], body)
            status, answer = 200, {}
            said = {kind: with_ids(json_format.MessageToDict(received), to_hex)}
        except (json_format.ParseError, message.DecodeError, ValueError) as error:
            status, answer = 400, {"message": str(error)}
            said = {"error": str(error)}
        said |= {"path": self.path, "authorization": self.headers.get("authorization")}
        with PRINTING:
            print(json.dumps(said), flush=True)
        # An empty answer is protobuf, too.
        answer = b"" if self.headers["content-type"] == "application/x-protobuf" else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", self.headers["content-type"])
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
