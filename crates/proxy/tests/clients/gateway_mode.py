"""Works with ibind in gateway mode, as against the Client Portal Gateway. Argument: a port. Any surprise is an exception."""

import logging
import sys
import time

from ibind import IbkrClient, IbkrWsClient, QueueSink, events, subscriptions
from ibind.support.errors import ExternalBrokerError

logging.disable(logging.INFO)
port = sys.argv[1]
client = IbkrClient(port=port, cacert=False)

assert client.tickle().data["session"]
assert client.check_health() and client.check_auth_status()
assert client.authentication_status().data["authenticated"]
assert client.initialize_brokerage_session().data["authenticated"]
assert client.validate().data["RESULT"]
assert client.reauthenticate().data == {"message": "triggered"}
account = client.receive_brokerage_accounts().data["accounts"][0]
assert account == client.portfolio_accounts().data[0]["accountId"]
quotes = client.live_marketdata_snapshot(["265598", "8314"], ["31", "84", "86"]).data
assert [str(quote["conid"]) for quote in quotes] == ["265598", "8314"], quotes

sink = QueueSink()
prices = sink.new_queue_accessor(events.MarketData)
web_socket = IbkrWsClient(port=port, ibkr_client=client, cacert=False, sink=sink)
web_socket.start()
web_socket.subscribe(subscriptions.MarketDataSubscription(conid="265598", fields=["31", "84", "86"]))
price = prices.get(block=True, timeout=30)
assert price is not None and str(price.conid) == "265598", price
web_socket.shutdown()

order = {"conid": 265598, "orderType": "MKT", "side": "BUY", "tif": "DAY", "quantity": 1, "acctId": account}
placed = client.post(f"iserver/account/{account}/orders", params={"orders": [order]}).data
assert placed[0]["order_status"] == "Filled", placed
assert len(client.live_orders().data["orders"]) == 1

assert client.logout().data == {"status": True}
try:
    client.tickle()
except ExternalBrokerError as error:
    assert error.status_code == 401, error
else:
    raise AssertionError("a log-out is one")
assert client.receive_brokerage_accounts().data["accounts"] == [account]
print("ibind works with the proxy")
