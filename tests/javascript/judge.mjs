// What the official JavaScript client makes of recorded streams.
//
// Takes the name of a folder; prints, as JSON, for each file NAME.sse how a plain loop and the
// helper read it: {"NAME": [loop, helper]}, each {"end", "id", "output"} or {"error": {code, message}}.

import { readdir, readFile } from "node:fs/promises";
import { join, parse } from "node:path";
import OpenAI from "openai";

const asked = { model: "tiny", input: "Hi" };

function saying(bytes) {
  const headers = { "content-type": "text/event-stream; charset=utf-8" };
  const fetch = async () => new Response(bytes, { headers });
  return new OpenAI({ apiKey: "any", baseURL: "http://test/v1", maxRetries: 0, fetch });
}

async function loop(client) {
  let last;
  for await (const event of await client.responses.create({ ...asked, stream: true })) last = event;
  return last;
}

async function helper(client) {
  const stream = client.responses.stream(asked);
  let last;
  for await (const event of stream) last = event;
  const final = await stream.finalResponse();
  if (final.id !== last.response.id) throw new Error("the helper and its events disagree");
  return last;
}

async function verdict(read, bytes) {
  try {
    const { type, response } = await read(saying(bytes));
    return { end: type, id: response.id, output: response.output.map((item) => item.type) };
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) return { error: { crash: String(error.stack) } };
    return { error: { code: error.code, message: error.error?.message } };
  }
}

const folder = process.argv[2];
const verdicts = {};
for (const file of await readdir(folder)) {
  const bytes = await readFile(join(folder, file));
  verdicts[parse(file).name] = [await verdict(loop, bytes), await verdict(helper, bytes)];
}
process.stdout.write(JSON.stringify(verdicts));
