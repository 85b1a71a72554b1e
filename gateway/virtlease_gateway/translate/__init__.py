"""Between gRPC messages and the JSON of tools, by the rules of docs/tools.md."""

from virtlease_gateway.translate.arguments import ArgumentDecoder
from virtlease_gateway.translate.results import ResultEncoder
from virtlease_gateway.translate.scalars import BadArguments
from virtlease_gateway.translate.schema import input_schema, output_schema

__all__ = ["ArgumentDecoder", "BadArguments", "ResultEncoder", "input_schema", "output_schema"]
