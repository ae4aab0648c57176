import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkContainerName, checkSnapshotName, checkTemplateName } from "../../src/config/names.ts";

const CORPUS = [
  "../x",
  "-x",
  "x-",
  "",
  "a b",
  "é",
  "web-01\n",
  "\nweb-01",
  ".",
  "..",
  "a/b",
  "A",
  "a.b",
  "a_b",
  "a\0",
  "ａ",
  "--",
  "-",
];

/** RFC 1123, section 2.1, said without the expression under test; lower case only. */
function isLabel(text: string, longest: number): boolean {
  const letters = text.split("");
  return (
    letters.length > 0 &&
    letters.length <= longest &&
    letters.every((letter) => "abcdefghijklmnopqrstuvwxyz0123456789-".includes(letter)) &&
    letters[0] !== "-" &&
    letters.at(-1) !== "-"
  );
}

const isNumber = (text: string) => text.split("").every((letter) => "0123456789".includes(letter));

describe.each([
  // a number alone is how Proxmox VE calls its containers
  ["container", checkContainerName, 63, (text: string) => isLabel(text, 63) && !isNumber(text)],
  ["template", checkTemplateName, 40, (text: string) => isLabel(text, 40)],
] as const)("a %s name", (_, check, longest, isRight) => {
  const accepts = (text: string) => {
    try {
      return check(text) === text;
    } catch (error) {
      expect(error).toMatchObject({
        name: "UserError",
        exitCode: 2,
        message: expect.stringContaining(JSON.stringify(text)),
      });
      return false;
    }
  };

  test.each([...CORPUS, "a".repeat(longest + 1)])("is not %j", (text) => {
    expect(accepts(text)).toBe(false);
  });

  test.each(["a", "0a", "web-01", "a--b", "9a", "a".repeat(longest)])("is %s", (text) => {
    expect(accepts(text)).toBe(true);
  });

  test("is just what the rule says", () => {
    const almost = fc.string({
      unit: fc.constantFrom("a", "b", "0", "9", "-", "Z", ".", "/", "\n"),
      maxLength: longest + 2,
    });
    fc.assert(fc.property(fc.oneof(almost, fc.string()), (text) => accepts(text) === isRight(text)));
    const labels = fc.string({ unit: fc.constantFrom("a", "z", "0", "9", "-"), minLength: 1, maxLength: longest + 2 });
    fc.assert(fc.property(labels, (text) => accepts(text) === isRight(text)));
  });
});

describe("a snapshot name", () => {
  const accepts = (text: string) => {
    try {
      return checkSnapshotName(text) === text;
    } catch (error) {
      expect(error).toMatchObject({ name: "UserError", exitCode: 2, hint: expect.stringContaining("before-upgrade") });
      return false;
    }
  };
  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  const isRight = (text: string) =>
    text.length > 0 &&
    text.length <= 40 &&
    text.split("").every((letter) => LETTERS.includes(letter)) &&
    !"_-".includes(text[0] ?? "-") &&
    !text.endsWith("-");

  test.each([...CORPUS.filter((text) => text !== "A" && text !== "a_b"), "a".repeat(41), "_a", "con\u0301"])(
    "is not %j",
    (text) => {
      expect(accepts(text)).toBe(false);
    },
  );

  test.each(["a", "20261127T144401Z", "20261127T144401Z-2", "Before_Upgrade", "0_", "a".repeat(40)])(
    "is %s",
    (text) => {
      expect(accepts(text)).toBe(true);
    },
  );

  test("is just what the rule says, and never more than one part of a path", () => {
    const almost = fc.string({ unit: fc.constantFrom("a", "Z", "0", "-", "_", ".", "/", "\n"), maxLength: 42 });
    const labels = fc.string({ unit: fc.constantFrom("a", "Z", "0", "-", "_"), minLength: 1, maxLength: 42 });
    fc.assert(
      fc.property(fc.oneof(almost, labels, fc.string()), (text) => {
        expect(accepts(text)).toBe(isRight(text));
        if (isRight(text)) expect(text).not.toMatch(/^[.-]|[/\s\0]/);
      }),
    );
  });
});
