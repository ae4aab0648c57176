import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  exactly,
  isNumber,
  isText,
  listOf,
  orNothing,
  readWritten,
  type Shape,
  tableOf,
} from "../../src/config/written-json.ts";

interface Written {
  schema: 1;
  name: string;
  sizes: readonly number[];
  packages: Readonly<Record<string, string>>;
  ip?: string;
}
const SHAPE: Shape<Written> = {
  schema: exactly(1),
  name: isText,
  sizes: listOf(isNumber),
  packages: tableOf(isText),
  ip: orNothing(isText),
};

test("gives back whatever was written", () => {
  const written = fc.record(
    {
      schema: fc.constant(1 as const),
      name: fc.string(),
      sizes: fc.array(fc.integer()),
      packages: fc.dictionary(fc.string(), fc.string()),
      ip: fc.string(),
    },
    { requiredKeys: ["schema", "name", "sizes", "packages"] },
  );
  fc.assert(
    fc.property(written, (value) => {
      const text = JSON.stringify(value);
      expect(JSON.stringify(readWritten(text, SHAPE))).toBe(text);
    }),
  );
});

test("believes nothing of another shape, and never throws", () => {
  const good = { schema: 1, name: "x", sizes: [1], packages: { a: "1" }, ip: "y" };
  for (const key of ["schema", "name", "sizes", "packages"]) {
    expect(readWritten(JSON.stringify({ ...good, [key]: undefined }), SHAPE), key).toBeUndefined();
  }
  for (const wrong of [{ sizes: ["1"] }, { packages: { a: 1 } }, { packages: ["a"] }, { schema: 2 }, { ip: 7 }]) {
    expect(readWritten(JSON.stringify({ ...good, ...wrong }), SHAPE), JSON.stringify(wrong)).toBeUndefined();
  }
  expect(readWritten(undefined, SHAPE)).toBeUndefined();
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      expect(readWritten(text, SHAPE)).toBeUndefined();
    }),
  );
});
