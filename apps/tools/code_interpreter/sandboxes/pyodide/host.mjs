// The main isolate: reads what the host sends, interrupts, and drops all permissions. Python runs
// in the worker's isolate, so that this one is always awake: when the host is gone, stdin ends and
// the process with it, whatever Python is doing.
//
// A frame, in both directions: length of the header, length of the body (32 bits each, big endian),
// header (JSON), body (bytes).

const config = JSON.parse(Deno.args[0]);
const interrupt = new Int32Array(new SharedArrayBuffer(4));
const KINDS = ["read", "write", "net", "env", "run", "ffi", "sys", "import"];
const nothing = { net: false, env: false, run: false, write: false, ffi: false, sys: false, import: false };
let running = null; // the id of the call that Python has

async function* frames() {
  const decoder = new TextDecoder();
  const reader = Deno.stdin.readable.getReader();
  let chunk = new Uint8Array(0);
  async function take(n) {
    const out = new Uint8Array(n);
    for (let filled = 0; filled < n;) {
      if (!chunk.length) {
        const { value, done } = await reader.read();
        if (done) Deno.exit(0);
        chunk = value;
      }
      const part = chunk.subarray(0, n - filled);
      out.set(part, filled);
      filled += part.length;
      chunk = chunk.subarray(part.length);
    }
    return out;
  }
  while (true) {
    const lengths = new DataView((await take(8)).buffer);
    const header = JSON.parse(decoder.decode(await take(lengths.getUint32(0))));
    yield { header, body: await take(lengths.getUint32(4)) };
  }
}

const incoming = frames();
const boot = (await incoming.next()).value; // body: a snapshot to restore, or nothing
const snapshot = boot.body.length
  ? boot.body
  : config.snapshot ? Deno.readFileSync(config.snapshot) : null;

const worker = new Worker(new URL("./worker.mjs", import.meta.url), {
  type: "module",
  deno: { permissions: { ...nothing, read: [config.harness, config.pyodide] } },
});
worker.onerror = (event) => {
  event.preventDefault();
  console.error(event.message);
  Deno.exit(3);
};
await new Promise((resolve) => {
  worker.onmessage = ({ data }) => {
    if (data === "ready") resolve();
    else running = null;
  };
  const { sources } = boot.header;
  worker.postMessage({ config, interrupt, snapshot, sources }, snapshot ? [snapshot.buffer] : []);
});
for (const name of KINDS) Deno.permissions.revokeSync({ name });
worker.postMessage({ header: { op: "opened" } });

for await (const { header, body } of incoming) {
  if (header.op === "interrupt") {
    if (header.call !== running) continue; // that cell has ended
    Atomics.store(interrupt, 0, 2);
    Atomics.notify(interrupt, 0);
    worker.postMessage({ header: { op: "cancel" } });
  } else {
    if (header.op === "exec") {
      running = header.call;
      Atomics.store(interrupt, 0, 0);
    }
    worker.postMessage({ header, body }, [body.buffer]);
  }
}
