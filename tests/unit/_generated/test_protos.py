"""Our subset of the wire formats against the independent types of envoy-data-plane: same names, numbers and kinds."""

import dataclasses

import pytest
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.auth import v3 as auth
from envoy_data_plane.envoy.type import v3 as types
from google.protobuf.descriptor import FieldDescriptor

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb

PAIRS = [
    (pb.CheckRequest, auth.CheckRequest),
    (pb.AttributeContext, auth.AttributeContext),
    (pb.AttributeContext.Peer, auth.AttributeContextPeer),
    (pb.AttributeContext.Request, auth.AttributeContextRequest),
    (pb.AttributeContext.HttpRequest, auth.AttributeContextHttpRequest),
    (pb.Address, core.Address),
    (pb.SocketAddress, core.SocketAddress),
    (pb.HeaderMap, core.HeaderMap),
    (pb.HeaderValue, core.HeaderValue),
    (pb.HeaderValueOption, core.HeaderValueOption),
    (pb.HttpStatus, types.HttpStatus),
    (pb.DeniedHttpResponse, auth.DeniedHttpResponse),
    (pb.OkHttpResponse, auth.OkHttpResponse),
    (pb.CheckResponse, auth.CheckResponse),
]
NUMBERLIKE = {FieldDescriptor.TYPE_INT32: {"int32", "enum"}, FieldDescriptor.TYPE_UINT32: {"uint32"}}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda item: getattr(item, "__name__", ""))
def test_every_field_of_ours_is_a_field_of_the_original(ours, theirs):
    original = {field.name: field.metadata["betterproto"] for field in dataclasses.fields(theirs)}
    for field in ours.DESCRIPTOR.fields:
        assert field.name in original
        assert field.number == original[field.name].number, field.name
        kinds = NUMBERLIKE.get(field.type)
        if kinds:
            assert original[field.name].proto_type in kinds


def test_the_service_and_its_package_have_the_original_names():
    service = pb.DESCRIPTOR.services_by_name["Authorization"]
    assert service.full_name == "envoy.service.auth.v3.Authorization"
    assert [method.name for method in service.methods] == ["Check"]
