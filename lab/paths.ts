import { resolve } from "node:path";

/** The checkout this harness belongs to. */
export const checkout: string = resolve(import.meta.dirname, "..");

/** Where images, layers and nodes are kept: `OPDBUS_LAB_CACHE`, or `.cache/lab` in the checkout. */
export const labCache: string = resolve(process.env["OPDBUS_LAB_CACHE"] ?? resolve(checkout, ".cache/lab"));
