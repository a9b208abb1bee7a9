"""Reads signed requests, a JSON object a line, and signs them anew: with oauthlib where there is a whole request, with
ibind where there are parameters. Any difference is an exception."""

import json
import sys
from urllib.parse import unquote, urlsplit

from ibind.oauth.oauth1a import generate_base_string, generate_hmac_sha_256_signature
from oauthlib.oauth1.rfc5849 import signature as oauthlib


def by_oauthlib(case):
    """The parameters are collected from the request as it goes over the wire."""
    parameters = oauthlib.collect_parameters(
        uri_query=urlsplit(case["url"]).query,
        body=case["body"],
        headers={"Authorization": case["authorization"]},
        exclude_oauth_signature=True,
        with_realm=False,
    )
    return oauthlib.signature_base_string(
        "POST", oauthlib.base_string_uri(case["url"]), oauthlib.normalize_parameters(parameters))


def by_ibind(case):
    """It encodes a space as `+`, where we follow RFC 3986; a real `+` is `%2B` to both, so there is no mistaking them."""
    base_string = generate_base_string("POST", case["url"], dict(case["oauth"]), request_params=dict(case["query"]))
    if "+" not in base_string:
        signature = generate_hmac_sha_256_signature(base_string, case["live_session_token"])
        assert unquote(signature) == case["signature"], case
    return base_string.replace("+", "%20")


agreed = {by_oauthlib: 0, by_ibind: 0}
for line in sys.stdin:
    case = json.loads(line)
    peer = by_ibind if "oauth" in case else by_oauthlib
    theirs = peer(case)
    assert theirs == case["base_string"], f"{line}theirs: {theirs}"
    agreed[peer] += 1
print(f"oauthlib agrees on {agreed[by_oauthlib]}, ibind on {agreed[by_ibind]}")
