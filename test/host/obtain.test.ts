import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { localHost } from "../../src/host/local-host.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const CONTENT = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251));
const SHA256 = createHash("sha256").update(CONTENT).digest("hex");
const LIMIT = { limit: 2 ** 30 };

type Answer = (request: IncomingMessage, response: ServerResponse, count: number) => void;

/** A server on this machine that answers as it is told; gives its address, and the ranges that it was asked for. */
async function serve(answer: Answer): Promise<{ url: string; asked: (string | undefined)[] }> {
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(request.headers.range);
    answer(request, response, asked.length);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/file`, asked };
}

/** What a server does that knows ranges; sends no more than it is told to, and hangs up. */
function ranged(atMost = CONTENT.length): Answer {
  return ({ headers }, response) => {
    const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    const body = CONTENT.subarray(start);
    const headed = {
      "content-length": body.length,
      "content-range": `bytes ${start}-${CONTENT.length - 1}/${CONTENT.length}`,
    };
    response.writeHead(headers.range === undefined ? 200 : 206, headed);
    if (body.length <= atMost) response.end(body);
    else response.write(body.subarray(0, atMost), () => response.destroy());
  };
}

const host = localHost(new AbortController().signal);
const place = () => join(temporaryDirectory(), "part");

test("a file of an address is brought here, for root alone, and told with its digest", async () => {
  const { url } = await serve(ranged());
  const path = place();
  const told: [number, number | undefined][] = [];
  const onBytes = (bytes: number, total: number | undefined) => void told.push([bytes, total]);
  expect(await host.obtain(url, path, { ...LIMIT, onBytes })).toEqual({ sha256: SHA256, bytes: CONTENT.length });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(told.at(-1)).toEqual([CONTENT.length, CONTENT.length]);
});

test("one that is cut in the middle goes on where it was", async () => {
  const { url, asked } = await serve((request, response, count) =>
    ranged(count < 3 ? 100_000 : undefined)(request, response, count),
  );
  expect(await host.obtain(url, place(), LIMIT)).toMatchObject({ sha256: SHA256 });
  expect(asked[0]).toBeUndefined();
  expect(asked.slice(1).every((range) => /^bytes=[1-9]\d*-$/.test(range ?? ""))).toBe(true);
});

test("what a killed run left counts as the beginning", async () => {
  const { url, asked } = await serve(ranged());
  const path = place();
  writeFileSync(path, CONTENT.subarray(0, 1234));
  expect(await host.obtain(url, path, LIMIT)).toMatchObject({ sha256: SHA256 });
  expect(asked).toEqual(["bytes=1234-"]);
});

test("a whole file is not downloaded again", async () => {
  const { url, asked } = await serve((_, response) =>
    response.writeHead(416, { "content-range": `bytes */${CONTENT.length}` }).end(),
  );
  const path = place();
  writeFileSync(path, CONTENT);
  expect(await host.obtain(url, path, LIMIT)).toMatchObject({ sha256: SHA256 });
  expect(asked).toHaveLength(1);
});

test("a beginning that is longer than the file is thrown away", async () => {
  const { url } = await serve((request, response, count) =>
    request.headers.range === undefined
      ? ranged()(request, response, count)
      : void response.writeHead(416, { "content-range": `bytes */${CONTENT.length}` }).end(),
  );
  const path = place();
  writeFileSync(path, Buffer.alloc(CONTENT.length + 5));
  expect(await host.obtain(url, path, LIMIT)).toMatchObject({ sha256: SHA256, bytes: CONTENT.length });
});

test("a server that knows no ranges sends all of it again", async () => {
  const { url } = await serve((_, response, count) => {
    response.writeHead(200, { "content-length": CONTENT.length });
    if (count > 1) response.end(CONTENT);
    else response.write(CONTENT.subarray(0, 5000), () => response.destroy());
  });
  const path = place();
  expect(await host.obtain(url, path, LIMIT)).toMatchObject({ sha256: SHA256, bytes: CONTENT.length });
});

test("a server that sends another range than it was asked for is not believed", async () => {
  const { url } = await serve(({ headers }, response) => {
    if (headers.range === undefined) response.end(CONTENT);
    else response.writeHead(206, { "content-range": `bytes 0-9/${CONTENT.length}` }).end(CONTENT.subarray(0, 10));
  });
  const path = place();
  writeFileSync(path, "xyz");
  expect(await host.obtain(url, path, LIMIT)).toMatchObject({ sha256: SHA256 });
});

test("one that never gets to its end is told after some attempts, and what came stays", async () => {
  const { url, asked } = await serve((_, response) => {
    response.writeHead(200, { "content-length": CONTENT.length });
    response.write(CONTENT.subarray(0, 5000), () => response.destroy());
  });
  const path = place();
  await expect(host.obtain(url, path, LIMIT)).rejects.toMatchObject({
    name: "UserError",
    message: expect.stringMatching(/^Unable to download http:.*: ./),
    hint: expect.stringContaining("curl --head --location http"),
  });
  expect(asked).toHaveLength(4);
  expect(existsSync(path)).toBe(true);
}, 20_000);

test("follows where it is sent, but not in a circle", async () => {
  const { url } = await serve((request, response, count) => {
    if (request.url === "/file") response.writeHead(302, { location: "/elsewhere" }).end();
    else ranged()(request, response, count);
  });
  expect(await host.obtain(url, place(), LIMIT)).toMatchObject({ sha256: SHA256 });
  const circle = await serve((_, response) => void response.writeHead(301, { location: "/file" }).end());
  await expect(host.obtain(circle.url, place(), LIMIT)).rejects.toThrow("from address to address");
  expect(circle.asked).toHaveLength(6);
});

test.each([
  ["what is not there", 404, {}, "the server says 404"],
  ["what is encoded on its way", 200, { "content-encoding": "gzip" }, "the server sends it encoded"],
  ["what leads to a file of this machine", 302, { location: "file:///etc/shadow" }, "which is not safe"],
])("refuses %s at once", async (_, status, headers, why) => {
  const { url, asked } = await serve((__, response) => void response.writeHead(status, headers).end());
  const path = place();
  await expect(host.obtain(url, path, LIMIT)).rejects.toThrow(why);
  expect(asked).toHaveLength(1);
  expect(existsSync(path)).toBe(false);
});

test("what is larger than it may be is refused, also where its size was not told", async () => {
  const told = await serve(ranged());
  await expect(host.obtain(told.url, place(), { limit: 1000 })).rejects.toThrow("larger than 1000 bytes");
  const silent = await serve((_, response) => {
    response.write(CONTENT);
    response.end();
  });
  const path = place();
  await expect(host.obtain(silent.url, path, { limit: 1000 })).rejects.toThrow("larger than 1000 bytes");
  expect(statSync(path).size).toBeLessThanOrEqual(1000);
});

test("nobody there is told with the address", async () => {
  const { url } = await serve(ranged());
  const nowhere = url.replace(/:\d+/, ":1");
  await expect(host.obtain(nowhere, place(), LIMIT)).rejects.toThrow(`Unable to download ${nowhere}: `);
}, 20_000);

test("what may be a secret in an address is in nothing that is told", async () => {
  const refusing = await serve((_, response) => void response.writeHead(403).end());
  const hanging = await serve((_, response) => void response.destroy());
  const leading = await serve(
    (_, response) => void response.writeHead(302, { location: "ftp://user:sesame@host/file?token=sesame" }).end(),
  );
  for (const { url } of [refusing, hanging, leading]) {
    const told: unknown = await host
      .obtain(`${url}?token=sesame#sesame`, place(), LIMIT)
      .catch((error: unknown) => error);
    expect(told).toMatchObject({
      name: "UserError",
      message: expect.stringContaining(`Unable to download ${url}?…: `),
    });
    expect(told).not.toMatchObject({ message: expect.stringContaining("sesame") });
    expect(told).not.toMatchObject({ hint: expect.stringContaining("sesame") });
  }
}, 20_000);

test("who asks is told to the server, and to nobody else, also where an answer names him", async () => {
  const asked: (string | undefined)[] = [];
  const answer = ranged();
  const { url } = await serve((request, response, count) => {
    asked.push(request.headers.authorization);
    const location = `http://other:open%20sesame@${request.headers.host}/file?token=sesame`;
    if (count === 1) response.writeHead(302, { location }).end();
    else answer(request, response, count);
  });
  await host.obtain(url.replace("http://", "http://user:pass@"), place(), LIMIT);
  const basic = (user: string) => `Basic ${Buffer.from(user).toString("base64")}`;
  expect(asked).toEqual([basic("user:pass"), basic("other:open sesame")]);
});

test("no room at all is told as that, and where it is", async () => {
  const path = place();
  await expect(host.obtain("/etc/passwd", path, { limit: -5 })).rejects.toMatchObject({
    message: expect.stringMatching(/: there is no room in \/[^ ]+$/),
    hint: expect.stringMatching(/^df -h /),
  });
});

test("an interruption ends it", async () => {
  const { url } = await serve((_, response) => void response.write("begun"));
  const interruption = new AbortController();
  const begun = new Promise<void>((resolve) => {
    const obtaining = localHost(interruption.signal).obtain(url, place(), { ...LIMIT, onBytes: () => resolve() });
    onTestFinished(() => expect(obtaining).rejects.toThrow("interrupted"));
    obtaining.catch(() => {});
  });
  await begun;
  interruption.abort("SIGINT");
});

test("a file of this machine is copied, and no folder or device is", async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, "from"), CONTENT);
  symlinkSync("from", join(directory, "link"));
  const path = join(directory, "to");
  expect(await host.obtain(join(directory, "link"), path, LIMIT)).toEqual({ sha256: SHA256, bytes: CONTENT.length });
  expect(readFileSync(path).equals(CONTENT)).toBe(true);
  for (const other of [directory, "/dev/zero"]) {
    await expect(host.obtain(other, path, LIMIT)).rejects.toThrow(`Unable to read ${other}: it is no file`);
  }
  await expect(host.obtain(join(directory, "none"), path, LIMIT)).rejects.toThrow("is missing");
  await expect(host.obtain(join(directory, "from"), path, { limit: 10 })).rejects.toThrow("larger than 10 bytes");
});

test("a link in the place of the file is not written through", async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, "victim"), "precious");
  symlinkSync("victim", join(directory, "part"));
  writeFileSync(join(directory, "from"), "x");
  await expect(host.obtain(join(directory, "from"), join(directory, "part"), LIMIT)).rejects.toThrow();
  expect(readFileSync(join(directory, "victim"), "utf8")).toBe("precious");
});

test("what a command writes is handed over as it comes, and what refuses it ends the command", async () => {
  let text = "";
  await host.stream(["printf", "a\\377b"], (bytes) => (text += Buffer.from(bytes).toString("latin1")));
  expect(text).toBe("a\u00FFb");
  const refuse = () => {
    throw new Error("enough");
  };
  await expect(host.stream(["cat", "/dev/zero"], refuse)).rejects.toThrow("enough");
  await expect(host.stream(["sh", "-c", "echo x; exit 3"], () => {})).rejects.toThrow("exited with 3");
  await expect(host.stream(["no-such-command"], () => {})).rejects.toThrow("command not found");
});
