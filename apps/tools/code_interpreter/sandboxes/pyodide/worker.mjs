// The worker's isolate: Python, and the little that it may ask of JavaScript. What Python can send
// is text, results, displays and errors; that a call has ended is said here.

const encoder = new TextEncoder();
const FROM_PYTHON = ["text", "result", "display", "error"];
const CHUNK = 1 << 20;
const PIECE = 1 << 16; // what a pipe takes at once; Deno copies all that it is given to write
const DATA = "/mnt/data";
const write = Deno.stdout.writeSync.bind(Deno.stdout);
let pyodide, config, interrupt, repl, memory_cap, wanted = {}, base_libraries = 0;

function send(header, body = new Uint8Array(0)) {
  const head = encoder.encode(JSON.stringify(header));
  const start = new Uint8Array(8 + head.length), lengths = new DataView(start.buffer);
  lengths.setUint32(0, head.length);
  lengths.setUint32(4, body.length);
  start.set(head, 8);
  if (body.length < PIECE) {
    const frame = new Uint8Array(start.length + body.length);
    frame.set(start);
    frame.set(body, start.length);
    write_all(frame);
  } else { // a snapshot is large: it is not copied once more
    write_all(start);
    write_all(body);
  }
}

function write_all(bytes) {
  for (let sent = 0; sent < bytes.length;) sent += write(bytes.subarray(sent, sent + PIECE));
}

// --- Before Python starts --------------------------------------------------------------------------

function cap_memory() {
  const grow = WebAssembly.Memory.prototype.grow;
  WebAssembly.Memory.prototype.grow = function (pages) {
    if (this.buffer.byteLength + pages * 65536 > memory_cap) throw new RangeError("memory limit");
    return grow.call(this, pages);
  };
}

// Emscripten begins with little memory, whatever it is given to restore: a snapshot of more does not
// fit before it has grown.
async function with_room_for(snapshot, load) {
  const { instantiate, instantiateStreaming } = WebAssembly;
  const size = snapshot.length - new DataView(snapshot.buffer, snapshot.byteOffset).getUint32(4, true); // without its head
  const roomy = (make) => async (...given) => {
    const made = await make.apply(WebAssembly, given), memory = made.instance?.exports.memory;
    if (memory) memory.grow(Math.max(0, Math.ceil((size - memory.buffer.byteLength) / 65536)));
    return made;
  };
  Object.assign(WebAssembly, {
    instantiate: roomy(instantiate), instantiateStreaming: roomy(instantiateStreaming),
  });
  try {
    return await load();
  } finally {
    Object.assign(WebAssembly, { instantiate, instantiateStreaming });
  }
}

const calls = Object.freeze({ getuid: () => 1000, umask: () => 0o22, versions: {}, argv: [] });
const hidden = new Map(); // what loading a package needs, and nothing else

function hide() {
  if (!hidden.size) {
    for (const name of ["Deno", "process", "Buffer", "fetch"]) hidden.set(name, globalThis[name]);
  }
  for (const name of [...hidden.keys(), "Worker", "WebSocket", "EventSource", "Request", "close",
    "XMLHttpRequest", "WebTransport", "BroadcastChannel", "caches", "localStorage", "sessionStorage",
    "navigator", "prompt", "alert", "confirm"]) {
    try { delete globalThis[name]; } catch { /* it has no permissions either */ }
  }
  globalThis.process = calls; // what system calls of Emscripten ask Node for
}

// What `import js` gives to Python; nothing else of JavaScript is there.
function few_globals() {
  return Object.assign(Object.create(null), {
    setTimeout, clearTimeout, Object, Array, Uint8Array, Promise, Error,
  });
}

async function load(snapshot) {
  const { loadPyodide } = await import(`file://${config.pyodide}/pyodide.mjs`);
  const options = {
    indexURL: `${config.pyodide}/`,
    packageCacheDir: `${config.pyodide}/`,
    jsglobals: few_globals(),
    _makeSnapshot: true,
    _sysExecutable: "/usr/bin/python3",
    env: { HOME: DATA, LANG: "C.UTF-8", USER: "sandbox", LOGNAME: "sandbox", _: "/usr/bin/python3" },
    stdout: () => {},
    stderr: () => {},
  };
  pyodide = snapshot
    ? await with_room_for(snapshot, () => loadPyodide({ ...options, _loadSnapshot: snapshot }))
    : await loadPyodide(options);
  delete pyodide._api.config._loadSnapshot; // it would be kept, as large as all variables
  pyodide._api.on_fatal = (error) => send({ kind: "fatal" }, encoder.encode(String(error).slice(0, 500)));
  pyodide.setInterruptBuffer(interrupt);
  pyodide.setStdin({ error: true });
  pyodide.setStdout({ write: (bytes) => raw("stdout", bytes) });
  pyodide.setStderr({ write: (bytes) => raw("stderr", bytes) });
  pyodide.FS.mkdirTree(DATA);
  pyodide.FS.chdir(DATA);
}

// What C writes comes in crumbs, and before a fatal error as a dump that says nothing to anybody.
let crumbs = { stream: "stdout", parts: [], size: 0 };

function raw(stream, bytes) {
  if (stream !== crumbs.stream || crumbs.size > 16384) sweep();
  crumbs.stream = stream;
  crumbs.parts.push(bytes.slice());
  crumbs.size += bytes.length;
  return bytes.length;
}

function sweep() {
  const { stream, parts, size } = crumbs;
  crumbs = { stream, parts: [], size: 0 };
  if (!size) return;
  const text = new Uint8Array(size);
  let filled = 0;
  for (const part of parts) {
    text.set(part, filled);
    filled += part.length;
  }
  send({ kind: "text", detail: stream }, text);
}

// --- What Python calls ------------------------------------------------------------------------------

function emit(kind, detail, content) {
  if (!FROM_PYTHON.includes(kind)) return;
  sweep();
  const buffer = content.getBuffer("u8");
  try { send({ kind, detail: String(detail).slice(0, 200) }, buffer.data); } finally { buffer.release(); }
}

// time.sleep would suspend Python and let the event loop eat the interrupt. True: interrupted.
function sleep(seconds) {
  return Atomics.wait(interrupt, 0, 0, seconds * 1000) !== "timed-out" &&
    Atomics.exchange(interrupt, 0, 0) !== 0;
}

async function load_packages(names) {
  const installed = names.toJs().map((name) => wanted[name]).filter((name) => name);
  if (!installed.length) return;
  for (const [name, value] of hidden) globalThis[name] = value;
  try {
    await pyodide.loadPackage(installed, { messageCallback() {}, errorCallback() {} });
  } finally {
    hide();
  }
}

// --- What the host asks for -------------------------------------------------------------------------

// Attached objects are proxies, which no snapshot can hold.
function attach() {
  repl = pyodide.pyimport("sandbox_session");
  repl.attach(emit, sleep, load_packages, config.packages);
}

// The path of a file below the data folder, without following a link anywhere.
function inside(path, { make = false } = {}) {
  const { FS } = pyodide, parts = path.split("/"), last = parts.pop();
  let folder = DATA;
  for (const part of parts) {
    folder += `/${part}`;
    if (make && !FS.readdir(folder.slice(0, folder.lastIndexOf("/"))).includes(part)) FS.mkdir(folder);
    if (!FS.isDir(FS.lstat(folder).mode)) throw new Error("not a folder");
  }
  const full = `${folder}/${last}`;
  if (make && FS.readdir(folder).includes(last) && !FS.isFile(FS.lstat(full).mode)) throw new Error("not a file");
  return full;
}

function heap() {
  return pyodide._module.HEAP8.length;
}

const operations = {
  opened() {
    send({ kind: "ready", python: config.python });
  },
  configure({ memory }) {
    memory_cap = memory;
    return {};
  },
  async exec({ call, code }) {
    let ok = false;
    try {
      ok = await repl.run(code);
    } catch (error) { // the harness itself was broken by the cell
      send({ kind: "error", detail: "SystemError" }, encoder.encode(`\0${String(error).slice(-2000)}`));
    }
    sweep();
    postMessage("done");
    send({ kind: "done", call, ok: ok === true, heap: heap() });
  },
  cancel() {
    Atomics.store(interrupt, 0, 0);
    repl.cancel();
  },
  put({ path, append }, body) {
    const { FS } = pyodide, full = inside(path, { make: true });
    const stream = FS.open(full, append ? "a" : "w");
    try { FS.write(stream, body, 0, body.length); } finally { FS.close(stream); }
    return {};
  },
  get({ path, offset }) {
    const { FS } = pyodide, full = inside(path);
    if (!FS.isFile(FS.lstat(full).mode)) throw new Error("not a file");
    const stream = FS.open(full, "r"), body = new Uint8Array(CHUNK);
    try {
      return [{}, body.subarray(0, FS.read(stream, body, 0, CHUNK, offset))];
    } finally { FS.close(stream); }
  },
  delete({ path }) {
    pyodide.FS.unlink(inside(path));
    return {};
  },
  list({ most }) {
    const { FS } = pyodide, files = [], folders = [""];
    let dropped = 0;
    while (folders.length) {
      const folder = folders.pop();
      for (const name of FS.readdir(`${DATA}/${folder}`)) {
        if (name === "." || name === "..") continue;
        const path = folder + name, stat = FS.lstat(`${DATA}/${path}`);
        if (FS.isDir(stat.mode)) folders.push(`${path}/`);
        else if (!FS.isFile(stat.mode)) continue;
        else if (files.length < most) files.push([path, stat.size, String(Number(stat.mtime))]);
        else dropped += stat.size;
      }
    }
    return [{ dropped }, encoder.encode(JSON.stringify(files))];
  },
  snapshot() {
    // Code of a compiled package would be called at addresses that a new instance does not have.
    if (Object.keys(pyodide._module.LDSO.loadedLibsByName).length > base_libraries) return { possible: false };
    repl.detach();
    repl.destroy();
    try {
      return [{ possible: true }, pyodide.makeMemorySnapshot()];
    } catch { // the code holds objects of JavaScript
      return { possible: false };
    } finally {
      attach();
    }
  },
};

async function handle({ header, body }) {
  const operation = operations[header.op];
  let answer;
  try {
    answer = await operation(header, body);
  } catch (error) {
    answer = { failed: String(error).slice(0, 300) };
  }
  if (header.id === undefined) return;
  const [reply, content] = Array.isArray(answer) ? answer : [answer];
  send({ kind: "reply", id: header.id, ...reply }, content);
}

async function build(sources) {
  // The base snapshot: Python with the harness and what cells import most, from a cold start.
  pyodide.FS.mkdirTree("/sandbox");
  for (const [name, source] of Object.entries(sources)) pyodide.FS.writeFile(`/sandbox/${name}.py`, source);
  pyodide.runPython("import sys; sys.path.insert(0, '/sandbox'); import sandbox_session; sys.path.remove('/sandbox')");
  send({ kind: "built" }, pyodide.makeMemorySnapshot());
}

async function open({ snapshot, sources }) {
  memory_cap = config.memory + (snapshot?.length ?? 0); // until the session says what it may have
  wanted = config.imports;
  cap_memory();
  await load(snapshot);
  if (sources) return await build(sources);
  attach();
  await repl.warm_up();
  base_libraries = Object.keys(pyodide._module.LDSO.loadedLibsByName).length;
  const kinds = ["write", "net", "env", "run", "ffi", "sys", "import"];
  if (!config.packages) kinds.push("read"); // else wheels are read when they are imported
  for (const name of kinds) Deno.permissions.revokeSync({ name });
  hide();
  globalThis.onmessage = ({ data }) => handle(data);
  postMessage("ready");
}

globalThis.onmessage = ({ data }) => {
  ({ config, interrupt } = data);
  globalThis.addEventListener("unhandledrejection", (event) => event.preventDefault());
  globalThis.addEventListener("error", (event) => event.preventDefault());
  open(data).catch((error) => send({ kind: "fatal" }, encoder.encode(String(error?.stack ?? error).slice(0, 2000))));
};
