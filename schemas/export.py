"""The contract as documents: a JSON Schema per record type and one AsyncAPI document, made from the records.

References
----------
JSON Schema draft 2020-12; AsyncAPI 3.0.0, https://www.asyncapi.com/docs/reference/specification/v3.0.0.
"""

import json
import re
from typing import Any

import msgspec

from schemas.fields import Record
from schemas.topics import TOPICS, Topic

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VERSION = "1.0.0"
#: Of the document that names all topics and records; where it lies, the folder holds the contract.
ASYNCAPI = "asyncapi.json"


def documents() -> dict[str, str]:
    """File name -> text of every exported document."""
    named = {f"{name}.json": json_schema(kind) for name, kind in record_types().items()}
    named[ASYNCAPI] = asyncapi()
    return {name: json.dumps(document, indent=2) + "\n" for name, document in sorted(named.items())}


def record_types() -> dict[str, type[Record]]:
    """File stem -> record type, for every record of every topic: `fills`, `instruments.Asset`."""
    return {
        topic.name if len(topic.records) == 1 else f"{topic.name}.{kind.__name__}": kind
        for topic in TOPICS.values()
        for kind in topic.records
    }


def json_schema(kind: type[Record]) -> dict[str, Any]:
    """The JSON Schema of one record type, its fields described by its docstring."""
    definitions = _definitions((kind,), "#/$defs/{name}")
    root = definitions.pop(kind.__name__)
    document = {"$schema": _DIALECT, **root}
    if definitions:
        document["$defs"] = definitions
    return document


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI document: a channel per topic; you send to the engine's inputs and receive its outputs."""
    topics = [topic for topic in TOPICS.values() if topic.role != "own"]
    kinds = tuple(kind for topic in topics for kind in topic.records)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "crossmargin",
            "version": _VERSION,
            "description": "Prices and fills in, margin calls and liquidations out. Operations are the "
            "engine's: it receives what you send, and sends what you read with read_committed.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in topics},
        "operations": {
            f"{'receive' if topic.role == 'in' else 'send'}-{topic.name}": {
                "action": "receive" if topic.role == "in" else "send",
                "channel": {"$ref": f"#/channels/{topic.name}"},
            }
            for topic in topics
        },
        "components": {
            "messages": {name: message for topic in topics for name, message in _messages(topic).items()},
            "schemas": _definitions(kinds, "#/components/schemas/{name}"),
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": f"{topic.carries}; key: {topic.key}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages(topic)},
        "bindings": {
            "kafka": {
                "bindingVersion": "0.5.0",
                "topicConfiguration": {"cleanup.policy": ["compact" if topic.cleanup == "compact" else "delete"]},
            }
        },
    }


def _messages(topic: Topic) -> dict[str, Any]:
    if not topic.records:
        return {"DeadLetter": {"summary": topic.carries, "contentType": "application/octet-stream"}}
    return {
        kind.__name__: {
            "summary": _summary(kind.__doc__ or ""),
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        }
        for kind in topic.records
    }


def _definitions(kinds: tuple[type[Record], ...], template: str) -> dict[str, Any]:
    """Name -> schema of the kinds and of all they contain, with sentences in place of docstrings."""
    _, definitions = msgspec.json.schema_components(kinds, ref_template=template)
    for schema in definitions.values():
        docstring = schema["description"]
        schema["description"] = _summary(docstring)
        texts = field_texts(docstring)
        schema["properties"] = {name: _described(body, texts[name]) for name, body in schema["properties"].items()}
    return definitions


def _described(body: dict[str, Any], text: str) -> dict[str, Any]:
    return {"description": text, **body}


def _summary(docstring: str) -> str:
    return " ".join(docstring.partition("Parameters\n")[0].split())


def field_texts(docstring: str) -> dict[str, str]:
    """Field name -> its line under Parameters in a record's docstring."""
    _, _, body = docstring.partition("----------\n")
    entries = re.split(r"^ {4}(\w+) : ", body, flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)}
