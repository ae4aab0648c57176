import { fileURLToPath } from "node:url";

/**
 * The folder that holds the program's data (templates/, the settings as shipped):
 * the package's or a built tree when this runs from its lib/, else the checkout.
 */
export const TREE = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
