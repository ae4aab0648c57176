/** The exit codes of the program; docs/architecture.md says what each means to a caller. */
export const EXIT = {
  failed: 1,
  usage: 2,
  unsupported: 3,
  pending: 4,
  unverified: 5,
  busy: 6,
  interrupted: 130,
} as const;

/**
 * A failure that the person at the keyboard can act on: its message is shown
 * without a stack. Anything else that is thrown counts as our own bug.
 */
export class UserError extends Error {
  /** The command, or the change, that mends it. */
  readonly hint?: string;
  /** One of `EXIT`. */
  readonly exitCode: number;

  constructor(message: string, options: { hint?: string; exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "UserError";
    if (options.hint !== undefined) this.hint = options.hint;
    this.exitCode = options.exitCode ?? EXIT.failed;
  }
}

/** What an error says, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The code of a system call's error (errno(3)), such as `EEXIST`; also of one that was put into words. */
export function errnoOf(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ("code" in at && typeof at.code === "string") return at.code;
  }
  return undefined;
}

/** Ctrl-C or a request to end: what was begun is undone, and the exit code is 130. */
export class Interrupted extends UserError {
  constructor() {
    super("interrupted", { exitCode: EXIT.interrupted });
    this.name = "Interrupted";
  }
}
