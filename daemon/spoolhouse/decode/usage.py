"""Finds a model call in a span's attributes: type, model, provider, tokens and cost.

Three conventions are read: `gen_ai.*` of OpenTelemetry, `llm.*` of OpenInference, and the attributes of Mastra's spans.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

MARK = "model"
"""Attributes of a model call name the model, so that one substring tells other spans cheaply."""

Usage = tuple[str, str, str, int | None, int | None, float | None]

COLUMNS = ("span_type", "model", "provider", "input_tokens", "output_tokens", "cost_usd")
"""The columns of a span that a model call fills, in the order of `Usage`."""
NONE: Usage = ("", "", "", None, None, None)
COUNTED_TYPES = frozenset({"model_generation", "rag_embedding"})
"""Mastra writes the tokens of one call three times: for the generation, its inference and its step. These count."""

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)] | None
_Cost = float | None


def _key(name: str, default: Any = None) -> Any:
    return msgspec.field(default=default, name=name)


class _Attributes(msgspec.Struct, gc=False):
    """The keys of the first two conventions, in the order in which producers write them.

    The decoder searches for each key from behind the last one that it found.
    """

    operation: str = _key("gen_ai.operation.name", "")
    system: str = _key("gen_ai.system", "")
    provider_name: str = _key("gen_ai.provider.name", "")
    request_model: str = _key("gen_ai.request.model", "")
    response_model: str = _key("gen_ai.response.model", "")
    input_tokens: _Count = _key("gen_ai.usage.input_tokens")
    output_tokens: _Count = _key("gen_ai.usage.output_tokens")
    prompt_tokens: _Count = _key("gen_ai.usage.prompt_tokens")
    completion_tokens: _Count = _key("gen_ai.usage.completion_tokens")
    cost: _Cost = _key("gen_ai.usage.cost")
    llm_kind: str = _key("openinference.span.kind", "")
    llm_system: str = _key("llm.system", "")
    llm_provider: str = _key("llm.provider", "")
    llm_model: str = _key("llm.model_name", "")
    embedding_model: str = _key("embedding.model_name", "")
    llm_prompt: _Count = _key("llm.token_count.prompt")
    llm_completion: _Count = _key("llm.token_count.completion")
    llm_cost: _Cost = _key("llm.cost.total")


class _MastraUsage(msgspec.Struct, gc=False, rename="camel"):
    input_tokens: _Count = None
    output_tokens: _Count = None


class _MastraCost(msgspec.Struct, gc=False, rename="camel"):
    model: str = ""
    provider: str = ""
    estimated_cost: _Cost = None


class _MastraAttributes(msgspec.Struct, gc=False, rename="camel"):
    model: str = ""
    provider: str = ""
    usage: _MastraUsage | None = None
    cost_context: _MastraCost | None = None


_decode = msgspec.json.Decoder(_Attributes).decode
_decode_mastra = msgspec.json.Decoder(_MastraAttributes).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


def of_attributes(attributes: str, span_type: str = "") -> Usage:
    """Return the model call in `attributes`, a JSON text; `span_type` is the span's own, if it has one.

    Values of odd types are passed over: the attributes themselves are kept whole. Mastra's keys count only for the span
    types that stand for a call.
    """
    if MARK not in attributes:
        return NONE
    try:
        # One of these is in each key of the first two conventions: cheaper than to decode the attributes in vain.
        if (
            "gen_ai." not in attributes
            and "llm." not in attributes
            and "embedding." not in attributes
            and "openinference." not in attributes
        ):
            return _of_mastra(attributes) if span_type in COUNTED_TYPES else NONE
        found = _read(attributes, _decode, _Attributes)
        model = found.response_model or found.request_model or found.llm_model or found.embedding_model
        provider = found.provider_name or found.system or found.llm_provider or found.llm_system
        # Without calls: this runs for each span of a model call.
        if (inputs := found.input_tokens) is None and (inputs := found.prompt_tokens) is None:
            inputs = found.llm_prompt
        if (outputs := found.output_tokens) is None and (outputs := found.completion_tokens) is None:
            outputs = found.llm_completion
        if (cost := found.cost) is None:
            cost = found.llm_cost
        if span_type in COUNTED_TYPES:
            _, own_model, own_provider, own_inputs, own_outputs, own_cost = _of_mastra(attributes)
            model = model or own_model
            provider = provider or own_provider
            inputs = own_inputs if inputs is None else inputs
            outputs = own_outputs if outputs is None else outputs
            cost = own_cost if cost is None else cost
    except (ValueError, RecursionError):
        return NONE
    if not model and inputs is None and outputs is None and cost is None:
        return NONE
    return found.llm_kind or found.operation, model, provider, inputs, outputs, cost


def _of_mastra(attributes: str) -> Usage:
    own = _read(attributes, _decode_mastra, _MastraAttributes)
    model, provider, inputs, outputs, cost = own.model, own.provider, None, None, None
    if (tokens := own.usage) is not None:
        inputs, outputs = tokens.input_tokens, tokens.output_tokens
    if (costs := own.cost_context) is not None:
        cost = costs.estimated_cost
        model, provider = model or costs.model, provider or costs.provider
    return "", model, provider, inputs, outputs, cost


def _read(attributes: str, decode: Any, kind: type[msgspec.Struct]) -> Any:
    """Return the struct of a kind that the attributes hold, without values of odd types."""
    try:
        return decode(attributes)
    except msgspec.ValidationError:
        given = _decode_any(attributes)
        found = kind()
        for one in msgspec.structs.fields(kind):
            if one.encode_name in given:
                try:
                    setattr(found, one.name, msgspec.convert(given[one.encode_name], one.type))
                except msgspec.ValidationError:
                    continue
        return found
