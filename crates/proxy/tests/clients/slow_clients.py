"""Ten thousand clients that send a byte now and then, and a good one beside them, against a proxy that runs already.

    ulimit -n 20000
    cargo run -p ibkr-oauth-proxy --example proxy &
    python3 crates/proxy/tests/clients/slow_clients.py 5000 [CLIENTS] [SECONDS]

Says how the good client was served. Fails if one of its requests was not.
"""

import asyncio
import multiprocessing
import socket
import ssl
import sys
import time

PORT = int(sys.argv[1])
CLIENTS = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
SECONDS = int(sys.argv[3]) if len(sys.argv) > 3 else 30
REQUEST = b"GET /v1/api/iserver/accounts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

opened = 0


async def be_slow(until):
    """Half of a handshake, and again whenever it is cut off."""
    global opened
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        except OSError:
            await asyncio.sleep(1)
            continue
        opened += 1
        try:
            writer.write(b"\x16\x03\x01")
            await asyncio.wait_for(reader.read(), until - time.monotonic())
        except (OSError, asyncio.TimeoutError):
            pass
        writer.close()
        await asyncio.sleep(5)


def be_good(seconds):
    """The seconds that each request took, in order, and why others were not served."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    times, failures = [], []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begin = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", PORT), 30) as plain, context.wrap_socket(plain) as stream:
                stream.sendall(REQUEST)
                answer = b"".join(iter(lambda: stream.recv(65536), b""))
            if b" 200 OK\r\n" not in answer:
                failures.append(answer[:100])
            times.append(time.monotonic() - begin)
        except OSError as error:
            failures.append(repr(error))
        time.sleep(0.1)
    return sorted(times), failures


async def be_many_slow_ones():
    until = time.monotonic() + SECONDS
    await asyncio.gather(*(be_slow(until) for _ in range(CLIENTS)))


def be_bad():
    asyncio.run(be_many_slow_ones())
    print(f"{CLIENTS} slow clients, {opened} connections;", end=" ", flush=True)


if __name__ == "__main__":
    alone, _ = be_good(3)
    bad = multiprocessing.Process(target=be_bad)
    bad.start()
    times, failures = be_good(SECONDS)
    bad.join()
    middle, longest = times[len(times) // 2] * 1e3, times[-1] * 1e3
    print(f"good client: {len(times)} requests, {len(failures)} failures, median {middle:.1f} ms, longest {longest:.1f} ms", end=" ")
    print(f"(alone: median {alone[len(alone) // 2] * 1e3:.1f} ms)")
    if failures:
        sys.exit(f"not served: {failures[:5]}")
