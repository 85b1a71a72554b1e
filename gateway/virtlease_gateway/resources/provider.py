"""The resources as FastMCP serves them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastmcp.resources import Resource, ResourceResult, ResourceTemplate
from fastmcp.server.providers import Provider
from fastmcp.utilities.versions import VersionSpec
from pydantic import PrivateAttr

from virtlease_gateway.resources.reading import Reading


class ServedResource(Resource):
    """A FastMCP resource that is read by an RPC."""

    _reading: Reading = PrivateAttr()
    _asked: str = PrivateAttr()
    _values: Mapping[str, str] = PrivateAttr()

    @classmethod
    def of(cls, reading: Reading, uri: str, values: Mapping[str, str]) -> "ServedResource":
        """The resource under a URI, whose variables have these values."""
        served = cls(uri=uri, **_described(reading))  # type: ignore[arg-type]  # pydantic makes a URL of it
        served._reading, served._asked, served._values = reading, uri, values
        return served

    async def read(self) -> ResourceResult:
        return await self._reading.read(self._asked, self._values)


class RpcResourceProvider(Provider):
    """Lists what has no variables as resources, the rest as templates, and finds what a URI means by itself."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        super().__init__()
        self._readings = list(readings)

    async def _list_resources(self) -> Sequence[Resource]:
        fixed = (each for each in self._readings if not each.resource.template.variables)
        return [ServedResource.of(each, each.resource.template.text, {}) for each in fixed]

    async def _list_resource_templates(self) -> Sequence[ResourceTemplate]:
        return [_template(each) for each in self._readings if each.resource.template.variables]

    async def _get_resource(self, uri: str, version: VersionSpec | None = None) -> Resource | None:
        for each in self._readings:
            if (values := each.resource.template.match(uri)) is not None:
                return ServedResource.of(each, uri, values)
        return None

    async def _get_resource_template(self, uri: str, version: VersionSpec | None = None) -> ResourceTemplate | None:
        return None  # `_get_resource` has found whatever there is


def _template(reading: Reading) -> ResourceTemplate:
    variables = reading.resource.template.variables
    parameters = {"type": "object", "properties": {name: {"type": "string"} for name in variables}}
    return ResourceTemplate(uri_template=reading.resource.template.text, parameters=parameters, **_described(reading))


def _described(reading: Reading) -> dict[str, Any]:
    resource = reading.resource
    return {
        "name": resource.name,
        "title": resource.title,
        "description": resource.description,
        "mime_type": resource.mime_type,
    }
