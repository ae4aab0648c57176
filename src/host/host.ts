/** A command and its arguments; never a shell string. */
export type Argv = readonly [command: string, ...args: string[]];

/** How a command ended. */
export interface CommandResult {
  /** Exit status; 127 when the command does not exist, 128 + n when signal n ended it. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a command is run. */
export interface CommandOptions {
  /** Text for standard input, which is closed otherwise. */
  readonly input?: string;
  readonly timeoutMs?: number;
  /** Added to the small fixed environment that every command gets. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called with each line of standard error as it arrives. */
  readonly onLine?: (line: string) => void;
  /** Of a pipe: called with the bytes that went through it so far, as they do. */
  readonly onBytes?: (bytes: number) => void;
  /** Undoes or completes what was begun, so that an interruption neither refuses nor ends it. */
  readonly shielded?: boolean;
  /** Where its standard output goes, of which nothing comes back then: `-` is our own; a file is made, and must not be there. */
  readonly output?: string;
}

/** How a file is brought here. */
export interface ObtainOptions {
  /** Bytes that it may have at most. */
  readonly limit: number;
  /** Called as bytes come: how many are here, and how many there are, where that is known. */
  readonly onBytes?: (bytes: number, total: number | undefined) => void;
}

/** What lies at a path (lstat(2)). */
export interface FileStat {
  readonly type: "file" | "directory" | "link" | "other";
  /** Permission bits, 0o0000 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Bytes that it takes on the disk; less than its size for a sparse file. */
  readonly allocated: number;
  /** 256 for the root of a BTRFS subvolume. */
  readonly inode: number;
}

/** Permission bits and owners; what is left out stays as it is. */
export interface FileAttributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * A machine that can only be looked at. Steps check, `doctor` and `--dry-run`
 * get no more than this.
 */
export interface HostView {
  /** Host name, for messages and records. */
  readonly name: string;
  /**
   * Runs a command that only reads.
   * @throws when the command is not on the list of reading verbs (our bug).
   */
  probe(argv: Argv, options?: CommandOptions): Promise<CommandResult>;
  /** The file's text, or undefined when there is none. */
  readText(path: string): Promise<string | undefined>;
  /** What is at the path, links not followed; undefined when nothing is. */
  stat(path: string): Promise<FileStat | undefined>;
  /** Names in a directory, sorted; undefined when there is no directory. */
  list(path: string): Promise<string[] | undefined>;
  /** Where a symbolic link points; undefined when the path is no link. */
  readLink(path: string): Promise<string | undefined>;
  /** Bytes of the file system that holds the path. */
  space(path: string): Promise<{ total: number; free: number }>;
  /** Lower-case hex SHA-256 of a file's content; undefined when there is no file. */
  digest(path: string): Promise<string | undefined>;
}

/** A machine that can be changed. */
export interface Host extends HostView {
  /**
   * Runs a command to its end.
   * @throws {CommandFailed} when it does not exit with 0.
   */
  run(argv: Argv, options?: CommandOptions): Promise<CommandResult>;
  /**
   * Runs two commands as a pipe; returns what the second gave.
   * @throws {CommandFailed} for the one that is to blame when either fails.
   */
  pipe(from: Argv, to: Argv, options?: CommandOptions): Promise<CommandResult>;
  /**
   * Runs a command to its end and hands over what it writes, as bytes and as they come. What `take` throws ends it.
   * @throws {CommandFailed} when it does not exit with 0.
   */
  stream(argv: Argv, take: (bytes: Uint8Array) => void): Promise<void>;
  /**
   * Brings a file here, durably, for root alone: from an http(s) address, a path of this machine, or `-`, our own
   * standard input. What is there of it already counts as the beginning of a download, which goes on behind it; what
   * came before a failure stays. Whether it is the right file is for the caller to tell.
   * @returns its hex SHA-256, and its size in bytes
   * @throws {UserError} when it cannot be had, or is larger than the limit
   */
  obtain(source: string, path: string, options: ObtainOptions): Promise<{ sha256: string; bytes: number }>;
  /** Gives a command the terminal; returns its exit status. */
  interactive(argv: Argv): Promise<number>;
  /** Writes a file whole or not at all, and durably. Mode 0644 unless given. */
  writeText(path: string, text: string, attributes?: FileAttributes): Promise<void>;
  /** Makes a file in a folder that has not got its name yet: durable, in place. @throws {UserError} when it is there: EEXIST of `errnoOf` */
  createText(path: string, text: string, attributes?: FileAttributes): Promise<void>;
  /** Adds text to the end of a file, durably; makes it (0600) where missing. */
  appendText(path: string, text: string): Promise<void>;
  /** Makes a directory and its parents; sets the attributes also where it exists. */
  makeDirectory(path: string, attributes?: FileAttributes): Promise<void>;
  /** @throws {UserError} when the path is taken (EEXIST of `errnoOf`): this is how names are reserved */
  makeLink(target: string, path: string): Promise<void>;
  /** Points a link somewhere else in one step; makes it where missing. */
  replaceLink(target: string, path: string): Promise<void>;
  setAttributes(path: string, attributes: FileAttributes): Promise<void>;
  /** Moves in one step, durably. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, link or directory tree; nothing there is no error. @throws {UserError} when something is mounted in it */
  remove(path: string): Promise<void>;
  /**
   * Holds an exclusive lock until the returned function is called or this
   * process is gone, however it ends.
   * @param holder what others are told who meet the lock
   * @throws {UserError} with exit code 6, naming the holder, when it is taken
   */
  lock(path: string, holder: string): Promise<() => Promise<void>>;
}
