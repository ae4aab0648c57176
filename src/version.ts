declare const OPDBUS_VERSION: string | undefined;

/** The version in package.json; the build puts it here, a checkout says `dev`. */
export const VERSION: string = typeof OPDBUS_VERSION === "string" ? OPDBUS_VERSION : "dev";
