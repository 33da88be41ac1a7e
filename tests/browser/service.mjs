// A HookSentry of a test, with a private database, and a receiver whose answer the test chooses.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(fileURLToPath(import.meta.url), "../../..");
const program = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/hooksentry");
const deadlineMs = 120_000;

export const password = "a password of the tests";

// Repeats until the condition returns something, and fails at the deadline.
export async function until(what, condition) {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// Starts the program. `stop` ends it and removes its data.
export async function startService(environment = {}, args = []) {
  const folder = await mkdtemp(join(tmpdir(), "hooksentry-browser-"));
  // The database server may run as another user.
  await chmod(folder, 0o755);
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const child = spawn(program, ["dev", "--data-dir", folder, "--listen", `127.0.0.1:${port}`, ...args], {
    env: {
      ...process.env,
      DATABASE_URL: "",
      AMQP_URL: "",
      HOOKSENTRY_LOG: "warn",
      HOOKSENTRY_PASSWORD_MEMORY_KIB: "64",
      HOOKSENTRY_PASSWORD_PASSES: "1",
      ...environment,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (text) => { output += text; });
  const ended = once(child, "exit");
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  await until("the program to be ready", async () => {
    if (child.exitCode !== null) throw new Error("the program ended during its start");
    return fetch(`${base}/health/ready`).then((answer) => answer.ok, () => false);
  });
  return { base, folder, stop, output: () => output };
}

// Starts a receiver. `answer` may be replaced: a function of the request and its body that returns status and text.
export async function startReceiver() {
  const receiver = { received: [], answer: () => [200, "ok"] };
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (text) => { body += text; });
    request.on("end", () => {
      receiver.received.push(body);
      const [status, text] = receiver.answer(request, body);
      response.writeHead(status, { "content-type": "text/plain" }).end(text);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  receiver.url = `http://127.0.0.1:${server.address().port}/webhooks`;
  receiver.stop = () => { server.closeAllConnections(); server.close(); };
  return receiver;
}

// The API with the access token of a user.
export class Api {
  constructor(base, token) {
    this.base = base;
    this.token = token;
  }

  static async signIn(base, email) {
    const tokens = await new Api(base).post("/auth/login", { email, password });
    return new Api(base, tokens.accessToken);
  }

  post(path, body, headers = {}) {
    return this.send("POST", path, body, headers);
  }

  patch(path, body) {
    return this.send("PATCH", path, body);
  }

  async send(method, path, body, headers = {}) {
    const authorization = this.token ? { authorization: `Bearer ${this.token}` } : {};
    const answer = await fetch(`${this.base}/api/v1${path}`, {
      method,
      headers: { "content-type": "application/json", ...authorization, ...headers },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return answer.status === 204 ? undefined : answer.json();
  }

  async get(path) {
    const answer = await fetch(`${this.base}/api/v1${path}`, { headers: { authorization: `Bearer ${this.token}` } });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return answer.json();
  }
}
