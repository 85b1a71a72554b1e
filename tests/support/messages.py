"""Messages of any type, at random."""

import json
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from virtlease.tool.v1 import tool_pb2

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e300, 1e300) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a type: any field set or not, at most one of a oneof."""
    message_class = GetMessageClass(descriptor)
    if descriptor.full_name in ("google.protobuf.Duration", "google.protobuf.Timestamp"):
        return st.builds(message_class, seconds=st.integers(0, 2**31), nanos=st.integers(0, 999_999_999))
    alone = [field for field in descriptor.fields if field.containing_oneof is None]
    parts = [st.fixed_dictionaries({}, optional={field.name: _field(field) for field in alone})]
    parts += [
        st.just({}) | st.one_of([_field(field).map(lambda v, n=field.name: {n: v}) for field in oneof.fields])
        for oneof in descriptor.oneofs
    ]
    return st.tuples(*parts).map(lambda found: message_class(**{k: v for part in found for k, v in part.items()}))


def _field(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if is_map:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.dictionaries(_value(key, key), _value(value, field), max_size=3)
    if field.is_repeated:
        return st.lists(_value(field, field), max_size=3)
    return _value(field, field)


def _value(field: FieldDescriptor, optioned: FieldDescriptor) -> st.SearchStrategy[Any]:
    if optioned.GetOptions().Extensions[tool_pb2.field].role == tool_pb2.ROLE_JSON_TEXT:
        return JSON_VALUES.map(lambda value: json.dumps(value, ensure_ascii=False))
    if field.message_type is not None:
        return messages(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=5)
        case FieldDescriptor.TYPE_STRING:
            return st.text(max_size=5)
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return st.floats(-(2.0**100), 2.0**100, width=32)
    return st.integers(*_RANGES[field.type])
