import {
  exactly,
  isNumber,
  isText,
  listOf,
  orNothing,
  readWritten,
  type Shape,
  tableOf,
} from "../config/written-json.ts";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { HOST_STATE } from "../paths.ts";

/** What the installer did that nobody could tell from the machine later: an upgrade and a removal go by it. */
export interface Receipt {
  readonly schema: 1;
  /** Path to the SHA-256 of every text that was shipped for it, the newest last. */
  readonly shipped: Readonly<Record<string, readonly string[]>>;
  /** First of the subordinate ids that root was given; none when root had a range. */
  readonly idRangeStart?: number;
}

const RECEIPT = `${HOST_STATE}/receipt.json`;

const SHAPE: Shape<Receipt> = {
  schema: exactly(1),
  shipped: tableOf(listOf(isText)),
  idRangeStart: orNothing(isNumber),
};

const EMPTY: Receipt = { schema: 1, shipped: {} };

/**
 * The receipt of this host; an empty one where there is none.
 * @throws {UserError} when it is damaged, or of a later version: what it says must not be lost
 */
export async function readReceipt(host: HostView): Promise<Receipt> {
  const text = await host.readText(RECEIPT);
  if (text === undefined) return EMPTY;
  const receipt = readWritten(text, SHAPE);
  if (receipt !== undefined) return receipt;
  throw new UserError(`Unable to read ${RECEIPT}: it is damaged, or of a later version of this program`, {
    hint: `mv ${RECEIPT} ${RECEIPT}.before   # then a removal knows neither shipped files nor ids that root was given`,
  });
}

/** Writes something down, before it is done: what was cut off is then undone, too. */
export async function noteOnReceipt(host: Host, news: Partial<Receipt>): Promise<void> {
  const before = await readReceipt(host);
  const after = { ...before, ...news, shipped: { ...before.shipped, ...news.shipped } };
  if (JSON.stringify(after) === JSON.stringify(before)) return;
  await host.makeDirectory(HOST_STATE, { mode: 0o711 });
  await host.writeText(RECEIPT, `${JSON.stringify(after, null, 2)}\n`, { mode: 0o600 });
}
