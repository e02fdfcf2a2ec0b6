"""Who a quote comes from: whether it needs a signature, and whether the one it has is its source's."""

from schemas.dead_letters import Refused
from schemas.fields import shown
from schemas.oracle_terms import SOURCE_PREFIX
from schemas.prices import Quote
from schemas.signatures import verified
from streams.ingest.term_checks import TermsRecord
from streams.ingest.terms import Terms


def check_origin(quote: Quote, time_ms: int, terms: Terms) -> None:
    """Refuse a quote that its source may not have made.

    A published source says whether its quotes must be signed; a symbol whose oracle record has `unsigned_sources`
    false takes signed ones only. Where a published source signs without having to, its signature must still hold.
    The signature of a source that nobody published proves nothing, and is not looked at.

    Parameters
    ----------
    quote : its fields are checked
    time_ms : its time, epoch ms
    terms : the keys there are; as far as they have been read

    Raises
    ------
    Refused
        missing_field, unsigned, unknown_key, bad_signature; with `missing` where more terms could help.
    """
    if (quote.signature is None) != (quote.key_id is None):
        absent = "signature" if quote.signature is None else "key_id"
        raise Refused("missing_field", f"{absent} must be given, as key_id and signature go together, found null")
    source, rules = terms.sources.get(quote.source), terms.oracle_record(quote.symbol)
    if source is not None and quote.key_id is not None:
        _check_signature(quote, quote.key_id, time_ms, source)
    elif source is not None and source["signed"]:
        raise _unsigned(quote, f"a quote of {shown(quote.source)}")
    elif rules is not None and not rules["unsigned_sources"]:
        raise _unsigned(quote, f"a quote of {shown(quote.symbol)}")


def _unsigned(quote: Quote, what: str) -> Refused:
    found = "no signature" if quote.key_id is None else f"one of {shown(quote.source)}, which nobody has published"
    return Refused("unsigned", f"{what} must be signed by a published source, found {found}", _id(quote))


def _id(quote: Quote) -> str:
    return SOURCE_PREFIX + quote.source


def _check_signature(quote: Quote, key_id: str, time_ms: int, source: TermsRecord) -> None:
    key = next((key for key in source["keys"] if key["id"] == key_id), None)
    if key is None:
        raise Refused(
            "unknown_key", f"key_id must be a key of {shown(quote.source)}, found {shown(key_id)}", _id(quote)
        )
    begins, ends = key["valid_from"], key["valid_until"]
    if time_ms < begins or (ends is not None and time_ms >= ends):
        until = "" if ends is None else f" and before {ends}"
        raise Refused(
            "unknown_key",
            f"time must be at least {begins}{until} with key {shown(key_id)} of {shown(quote.source)}, found {time_ms}",
            _id(quote),
        )
    if not verified(quote, key["public_key"]):
        raise Refused(
            "bad_signature", f"signature must be that of key {shown(key_id)} of {shown(quote.source)}, found another"
        )
