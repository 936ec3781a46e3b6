"""Injects a signal and prints its outcome: pyzmq and msgpack, no import of ARK. Usage: inject.py [ENDPOINT]"""

import sys
import uuid

import msgpack
import zmq

door = zmq.Context().socket(zmq.REQ)
door.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555")


def ask(op, **fields):
    door.send(msgpack.packb({"v": 1, "op": op, **fields}))
    return msgpack.unpackb(door.recv())


signal = {"symbol": "AAPL", "direction": "long", "price": 190.0, "position_size_pct": 0.05,
          "stop_loss": 180.0, "target": 215.0, "trace_id": str(uuid.uuid4())}  # fmt: skip
print(ask("inject", signal=signal))
print(ask("outcome", trace_id=signal["trace_id"], timeout_ms=5000))
