"""What every bridge in Python has in common: a line in, a call of the client, a line out."""

import sys


def serve(connect):
    """Answers until standard input ends. `connect(addresses)` makes a client; see README.md."""
    clients = {}
    for line in sys.stdin:
        handle, verb, *arguments = line.rstrip("\n").split(" ")
        try:
            if verb == "open":
                clients[handle] = connect(arguments[0].split(","))
                reply = "ok"
            else:
                reply = render(call(clients[handle], verb, arguments))
        except Exception as error:  # noqa: BLE001 - whatever a client raises is an answer.
            reply = f"error {type(error).__name__} {error}".replace("\n", " ")
        print(reply, flush=True)


def call(client, verb, arguments):
    if verb in ("set", "add", "replace", "cas"):
        key, exptime, value = arguments
        return getattr(client, verb)(key, int(exptime), value)
    if verb in ("incr", "touch"):
        return getattr(client, verb)(arguments[0], int(arguments[1]))
    if verb == "mget":
        return client.mget(arguments)
    return getattr(client, verb)(*arguments)


def render(result):
    if isinstance(result, dict):
        return "values" + "".join(f" {text(key)}={text(value)}" for key, value in result.items())
    if result is True:
        return "ok"
    if result is None or result is False:
        return "no"
    return f"value {text(result)}"


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
