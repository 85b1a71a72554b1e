"""A set of proto files, as a descriptor set has them: with imports, and with source info for the comments."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Self

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from virtlease.tool.v1 import tool_pb2
from virtlease_chassis.settings import SettingsError
from virtlease_gateway.contracts.comments import read_comments
from virtlease_gateway.contracts.rpc_resource import (
    RpcCompletion,
    RpcResource,
    RpcWatch,
    completions_of,
    resources_of,
    watch_of,
)
from virtlease_gateway.contracts.rpc_tool import RpcTool


class Contract:
    """Services and their comments."""

    def __init__(self, descriptor_set: descriptor_pb2.FileDescriptorSet) -> None:
        """Raises TypeError when a file that is imported is not in the set."""
        self._pool = DescriptorPool()
        self.comments: Mapping[str, str] = {}
        comments: dict[str, str] = {}
        for file in descriptor_set.file:
            self._pool.Add(file)
            comments.update(read_comments(file))
        self.comments = comments

    @classmethod
    def own(cls) -> Self:
        """virtlease's own services."""
        return cls._parse(files("virtlease").joinpath("descriptors.binpb").read_bytes())

    @classmethod
    def read(cls, path: Path) -> Self:
        """The services of a descriptor set in a file. Raises SettingsError."""
        try:
            return cls._parse(path.read_bytes())
        except (OSError, DecodeError, TypeError) as error:
            raise SettingsError([f"{path}: not a descriptor set with its imports: {error}"]) from error

    def service(self, name: str) -> ServiceDescriptor:
        """A service by its full name. Raises KeyError."""
        found: ServiceDescriptor = self._pool.FindServiceByName(name)
        return found

    def tools(self, service: ServiceDescriptor) -> list[RpcTool]:
        """The tools among the RPCs of a service, in the order of the file."""
        found = (RpcTool.of(method, self.comments.get(method.full_name, "")) for method in service.methods)
        return [tool for tool in found if tool is not None]

    def resources(self, service: ServiceDescriptor) -> list[RpcResource]:
        """What the RPCs of a service return as resources."""
        return [
            each for method in service.methods for each in resources_of(method, self.comments.get(method.full_name, ""))
        ]

    @staticmethod
    def watches(service: ServiceDescriptor) -> list[RpcWatch]:
        """The RPCs of a service that tell of changes."""
        return [watch for method in service.methods if (watch := watch_of(method)) is not None]

    @staticmethod
    def completions(service: ServiceDescriptor) -> list[RpcCompletion]:
        """The variables that a service lists values for."""
        return [each for method in service.methods for each in completions_of(method)]

    @staticmethod
    def takes_sessions(service: ServiceDescriptor) -> bool:
        """Whether the service's own requests name sessions."""
        return any(_names_a_session(method) for method in service.methods)

    @classmethod
    def _parse(cls, content: bytes) -> Self:
        return cls(descriptor_pb2.FileDescriptorSet.FromString(content))


def _names_a_session(method: MethodDescriptor) -> bool:
    return any(
        field.GetOptions().Extensions[tool_pb2.field].role == tool_pb2.ROLE_SESSION
        for field in method.input_type.fields
    )
