import { describe, expect, test } from "vitest";
import { memoryHost, type MemoryHost } from "../memory-host.ts";
import { planShippedFiles, writeShippedFiles } from "../../src/install/shipped-files.ts";
import { diesAt } from "../dies-at.ts";

const PATH = "/etc/opdbus/opdbus.toml";
const FOLDERS = { "/etc/opdbus/": "", "/var/lib/": "" };
const NEW = `${PATH}.opdbus-new`;

/** Brings a host to what a version ships; gives what was said. */
async function upgrade(host: MemoryHost, text: string): Promise<string[]> {
  const said: string[] = [];
  await writeShippedFiles(host, [{ path: PATH, text }], (event) => "text" in event && said.push(event.text));
  expect(await planShippedFiles(host, [{ path: PATH, text }]), "nothing is left to do").toEqual([]);
  return said;
}

const edit = (host: MemoryHost, text: string) => host.tree.put(PATH, { text });
const read = async (host: MemoryHost) => [await host.readText(PATH), await host.readText(NEW)];

describe("shipped then, shipped now, and what is there", () => {
  test("a file that nobody edited follows every version", async () => {
    const host = memoryHost({ files: FOLDERS });
    for (const text of ["1", "2", "3", "2"]) {
      expect(await upgrade(host, text)).toEqual([]);
      expect(await read(host)).toEqual([text, undefined]);
    }
  });

  test("an edited file is kept; what changed in ours is laid beside it once, and said", async () => {
    const host = memoryHost({ files: FOLDERS });
    await upgrade(host, "1");
    edit(host, "mine");
    expect(await upgrade(host, "1")).toEqual([]);
    expect(await read(host)).toEqual(["mine", undefined]);
    expect(await planShippedFiles(host, [{ path: PATH, text: "2" }])).toEqual([
      `Write ${NEW}: ${PATH} was edited here and stays as it is`,
    ]);
    expect(await upgrade(host, "2")).toEqual([
      `${PATH} was edited here and is kept; what this version ships is beside it, ${NEW}`,
    ]);
    expect(await read(host)).toEqual(["mine", "2"]);
    host.tree.drop(NEW);
    expect(await upgrade(host, "2"), "it was offered").toEqual([]);
    expect(await read(host)).toEqual(["mine", undefined]);
  });

  test("an edit that was taken back, to whatever version, is no edit", async () => {
    const host = memoryHost({ files: FOLDERS });
    await upgrade(host, "1");
    edit(host, "mine");
    await upgrade(host, "2");
    edit(host, "1");
    expect(await upgrade(host, "3")).toEqual([]);
    expect((await read(host))[0]).toBe("3");
  });

  test("a file from before there were receipts counts as edited, unless it is what is shipped now", async () => {
    const host = memoryHost({ files: { ...FOLDERS, [PATH]: "theirs" } });
    await upgrade(host, "1");
    expect(await read(host)).toEqual(["theirs", "1"]);
    const same = memoryHost({ files: { ...FOLDERS, [PATH]: "1" } });
    await upgrade(same, "1");
    expect(await read(same)).toEqual(["1", undefined]);
  });

  test("a file that is gone is written again", async () => {
    const host = memoryHost({ files: FOLDERS });
    await upgrade(host, "1");
    host.tree.drop(PATH);
    await upgrade(host, "1");
    expect((await read(host))[0]).toBe("1");
  });

  test.each([undefined, "1", "mine"])(
    "cut off before any of its changes, with %j there, the next run ends the same",
    async (there) => {
      const start = async () => {
        const host = memoryHost({ files: FOLDERS });
        await upgrade(host, "1");
        if (there === undefined) host.tree.drop(PATH);
        else edit(host, there);
        host.forget();
        return host;
      };
      const whole = await start();
      await upgrade(whole, "2");
      const changes = [...whole.changes];
      expect(changes.length).toBeGreaterThan(1);
      for (const [cut, where] of changes.entries()) {
        const host = await start();
        const file = { path: PATH, text: "2" };
        await expect(writeShippedFiles(diesAt(host, cut), [file], () => {})).rejects.toThrow("killed");
        await upgrade(host, "2");
        expect(await read(host), `cut at ${where}`).toEqual(await read(whole));
        // and the version after it still knows whose text is there
        await upgrade(host, "3");
        await upgrade(whole, "3");
        expect(await read(host), `cut at ${where}`).toEqual(await read(whole));
        await upgrade(whole, "2");
      }
    },
  );
});

test.each(["", "{", '{"schema":2,"shipped":{}}'])(
  "a receipt that says %j is kept, and stops the work",
  async (text) => {
    const host = memoryHost({ files: FOLDERS });
    await upgrade(host, "1");
    const receipt = "/var/lib/opdbus-pve/receipt.json";
    host.tree.put(receipt, { text });
    await expect(upgrade(host, "2")).rejects.toMatchObject({
      message: `Unable to read ${receipt}: it is damaged, or of a later version of this program`,
      hint: expect.stringContaining(`mv ${receipt} ${receipt}.before`),
    });
    expect(await host.readText(receipt)).toBe(text);
    expect(await read(host)).toEqual(["1", undefined]);
  },
);
