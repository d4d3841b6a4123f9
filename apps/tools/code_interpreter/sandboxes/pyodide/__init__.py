"""CPython as WebAssembly, in a Deno process without permissions."""
