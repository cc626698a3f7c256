"""An OpenTelemetry collector: takes spans over real OTLP/gRPC, and keeps them."""

from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.support.waiting import wait_for


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens on a free loopback port, with the server's TLS `credentials` if there are any.

    `requests` are what came. With `hold`, an event, no export is answered before it is set.
    """

    def __init__(self, credentials=None, hold=None, address="127.0.0.1:0"):
        self.requests = []
        self._hold = hold
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        add = self._server.add_insecure_port
        port = add(address) if credentials is None else self._server.add_secure_port(address, credentials)
        self.endpoint = f"127.0.0.1:{port}"

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(0).wait()

    def Export(self, request, _context):  # noqa: N802 gRPC's name
        self.requests.append(request)
        if self._hold is not None:
            self._hold.wait(30)
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self, service=None):
        """The spans that came, of one service or of all, each as what it says."""
        return [
            Seen(span, attributes(group.resource))
            for request in list(self.requests)
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
            if service in {None, attributes(group.resource)["service.name"]}
        ]

    def wait_for(self, number, service=None):
        """The spans, once there are so many."""
        wait_for(lambda: len(self.spans(service)) >= number)
        return self.spans(service)


class Seen:
    """One span: its ids in hex, its name, kind, status and attributes, and those of who made it."""

    def __init__(self, span, resource):
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.name, self.kind, self.failed = span.name, span.kind, span.status.code == span.status.STATUS_CODE_ERROR
        self.nanoseconds = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = attributes(span)
        self.resource = resource
        self.raw = span.SerializeToString()


def attributes(of):
    """The attributes of a span or a resource, which are all texts."""
    return {one.key: one.value.string_value for one in of.attributes}
