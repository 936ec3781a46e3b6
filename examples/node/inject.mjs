// Injects a signal and prints its outcome. Usage: node inject.mjs [ENDPOINT]
import { randomUUID } from "node:crypto";
import { Dealer } from "zeromq";
import { decode, encode } from "@msgpack/msgpack";

const door = new Dealer();
door.connect(process.argv[2] ?? "tcp://127.0.0.1:5555");

async function ask(op, fields) {
  await door.send(encode({ v: 1, op, ...fields }));
  const [reply] = await door.receive();
  return decode(reply);
}

const signal = { symbol: "AAPL", direction: "long", price: 190.0, position_size_pct: 0.05,
                 stop_loss: 180.0, target: 215.0, trace_id: randomUUID() };
console.log(await ask("inject", { signal }));
console.log(await ask("outcome", { trace_id: signal.trace_id, timeout_ms: 5000 }));
door.close();
