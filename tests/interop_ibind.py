"""Logs in to a gateway with ibind, again and again. Argument: a credentials.json. Any surprise is an exception."""

import json
import logging
import sys

from Crypto.IO import PEM
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence
from ibind import IbkrClient
from ibind.oauth.oauth1a import OAuth1aConfig
from ibind.support.errors import ExternalBrokerError

LOGINS = 5

logging.disable(logging.INFO)
with open(sys.argv[1]) as file:
    credentials = json.load(file)


def connect(**changes):
    prime = DerSequence().decode(PEM.decode(credentials["dhparam_pem"])[0])[0]
    settings = dict(
        oauth_rest_url=credentials["base_url"],
        access_token=credentials["access_token"],
        access_token_secret=credentials["access_token_secret"],
        consumer_key=credentials["consumer_key"],
        realm=credentials["realm"],
        dh_prime=hex(prime)[2:],
        signature_key=credentials["private_signature_pem"],
        encryption_key=credentials["private_encryption_pem"],
        shutdown_oauth=False,
    )
    settings.update(changes)
    return IbkrClient(use_oauth=True, auto_register_shutdown=False, oauth_config=OAuth1aConfig(**settings))


def refused(text, call):
    try:
        call()
    except ExternalBrokerError as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"{text} was expected")


tokens = set()
for login in range(LOGINS):
    # Verifies the live session token, starts the tickler and opens a brokerage session.
    client = connect()
    tokens.add(client.live_session_token)
    assert client.tickle().data["session"]
    assert client.check_health() and client.check_auth_status()
    accounts = [account["accountId"] for account in client.portfolio_accounts().data]
    assert accounts == client.receive_brokerage_accounts().data["accounts"] and accounts, accounts
    for conids in (["265598"], ["265598", "8314"]):
        quotes = client.live_marketdata_snapshot(conids, ["31", "84", "86"]).data
        assert [str(quote["conid"]) for quote in quotes] == conids, quotes
        assert all(float(quote["84"]) < float(quote["31"]) < float(quote["86"]) for quote in quotes), quotes
    client.stop_tickler(5)
    assert client.logout().data == {"status": True}
    refused("401 :: Unauthorized", client.tickle)
    print(f"login {login + 1} of {LOGINS}: {len(accounts)} accounts", flush=True)
assert len(tokens) == LOGINS, "each login makes a token of its own"

quiet = dict(init_brokerage_session=False, maintain_oauth=False)
without_brokerage = connect(**quiet)
without_brokerage.portfolio_accounts()
refused("400 Bad Request: no bridge", without_brokerage.receive_brokerage_accounts)

stranger = RSA.generate(2048).export_key().decode()
refused("invalid consumer", lambda: connect(signature_key=stranger, **quiet))
refused("invalid consumer", lambda: connect(realm="test_realm", **quiet))
refused("No access secret key found", lambda: connect(access_token="0" * 20, **quiet))
print("ibind and the gateway agree")
