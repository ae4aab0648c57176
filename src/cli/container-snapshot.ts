import { checkContainerName, checkSnapshotName } from "../config/names.ts";
import { refuseRunning } from "../containers/move-stopped.ts";
import { requireContainer } from "../containers/record.ts";
import { rollbackContainer } from "../containers/rollback.ts";
import {
  deleteSnapshot,
  hasSubvolumesInside,
  listSnapshots,
  readSnapshot,
  requireSnapshot,
  takeSnapshot,
} from "../containers/snapshot.ts";
import { startContainer } from "../containers/start.ts";
import { EXIT, UserError } from "../host/errors.ts";
import { requirePool } from "../pool/find-pool.ts";
import { inTurn } from "./container.ts";
import { describeError } from "./renderer.ts";
import {
  type CommonOptions,
  confirm,
  recorded,
  recordedAnyway,
  runCommand,
  type Session,
  withPatience,
} from "./session.ts";

const LONGEST_NOTE = 400;

/** `op-dbus container snapshot` */
export async function take(
  name: string,
  wanted: string | undefined,
  options: CommonOptions & { readonly note?: string },
): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkContainerName(name);
    const given = {
      ...(wanted === undefined ? {} : { wanted: checkSnapshotName(wanted) }),
      ...(options.note === undefined ? {} : { note: checkNote(options.note) }),
    };
    await requirePool(host);
    await requireContainer(host, name);
    const details = wanted === undefined ? {} : { snapshot: wanted };
    const change = () => takeSnapshot(host, name, given);
    const taken = await withPatience(session, `snapshot ${name}`, () =>
      recorded(session, "container_snapshot", name, details, change, ({ name: snapshot }) => ({ snapshot })),
    );
    await sayWhatIsNotInIt(session, name);
    if (json) return out.json({ schema: 1, name, snapshot: taken });
    const how = taken.running ? " while it runs: it holds what a power cut would have left" : "";
    out.print(`${name}: snapshot ${taken.name} taken${how}`);
  });
}

/** Says that subvolumes which the guest made are in no snapshot or clone of it. */
export async function sayWhatIsNotInIt({ host, out }: Session, name: string): Promise<void> {
  if (!(await hasSubvolumesInside(host, name))) return;
  out.report({ kind: "warn", text: `${name} has BTRFS subvolumes inside it; what is in them was left out` });
}

function checkNote(text: string): string {
  if (text.length <= LONGEST_NOTE && !/\p{Cc}/u.test(text)) return text;
  throw new UserError(`Unable to use ${JSON.stringify(text.slice(0, 60))} as a note`, {
    hint: `a note is one line of up to ${LONGEST_NOTE} characters`,
    exitCode: EXIT.usage,
  });
}

/** `op-dbus container listsnapshot` */
export async function list(name: string, options: CommonOptions): Promise<void> {
  await runCommand(options, async ({ host, out, json }) => {
    checkContainerName(name);
    await requirePool(host);
    await requireContainer(host, name);
    const snapshots = await listSnapshots(host, name);
    if (json) out.json({ schema: 1, name, snapshots });
    else
      out.table(
        ["SNAPSHOT", "TAKEN", "STATE", "NOTE"],
        snapshots.map((one) =>
          "broken" in one
            ? [one.name, "?", "broken", ""]
            : [
                one.name,
                one.createdAt.replace("T", " ").slice(0, 19),
                one.running ? "running" : "stopped",
                one.note ?? "",
              ],
        ),
      );
    for (const one of snapshots) if ("broken" in one) out.report({ kind: "warn", text: one.broken });
  });
}

/** `op-dbus container delsnapshot` */
export async function remove(
  name: string,
  snapshots: readonly string[],
  options: CommonOptions & { readonly yes?: boolean },
): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkContainerName(name);
    for (const snapshot of snapshots) checkSnapshotName(snapshot);
    await requirePool(host);
    await requireContainer(host, name);
    await confirm(session, {
      question: `Remove ${snapshots.length === 1 ? "the snapshot" : "the snapshots"} ${snapshots.join(", ")} of ${name} for good?`,
      yes: options.yes,
    });
    const results = await inTurn(session, snapshots, async (snapshot) => {
      await requireSnapshot(host, name, snapshot);
      await withPatience(session, `remove ${snapshot}`, () =>
        recordedAnyway(session, "container_delsnapshot", name, { snapshot }, () =>
          deleteSnapshot(host, name, snapshot),
        ),
      );
      return "removed";
    });
    if (json) out.json({ schema: 1, name, snapshots: results });
  });
}

interface RollbackOptions extends CommonOptions {
  readonly start?: boolean;
  readonly yes?: boolean;
  readonly discardSubvolumes?: boolean;
}

/** `op-dbus container rollback` */
export async function rollback(name: string, snapshot: string, options: RollbackOptions): Promise<void> {
  await runCommand(options, async (session) => {
    const { host, out, json } = session;
    checkContainerName(name);
    checkSnapshotName(snapshot);
    await requirePool(host);
    await readSnapshot(host, name, snapshot);
    await refuseRunning(host, name);
    const nested = await hasSubvolumesInside(host, name);
    // who said --yes was not told of them
    if (nested && options.yes && !options.discardSubvolumes) {
      throw new UserError(`${name} has BTRFS subvolumes inside it, which no snapshot holds: they would be lost`, {
        hint: `op-dbus container rollback ${name} ${snapshot} --yes --discard-subvolumes`,
      });
    }
    const inside = nested ? " The BTRFS subvolumes inside it are in no snapshot, and are lost, too." : "";
    await confirm(session, {
      question: `Take ${name} back to ${snapshot}? Its present files and configuration are lost, unless a snapshot is taken first: op-dbus container snapshot ${name}.${inside}`,
      yes: options.yes,
    });
    await withPatience(session, `roll back ${name}`, () =>
      recorded(session, "container_rollback", name, { snapshot }, () => rollbackContainer(host, name, snapshot)),
    );
    if (!json) out.print(`${name}: rolled back to ${snapshot}`);
    const done = { name, result: "rolled back", snapshot };
    try {
      if (options.start) {
        await withPatience(session, `start ${name}`, () =>
          recorded(session, "container_start", name, {}, () => startContainer(host, name)),
        );
        done.result = "started";
        if (!json) out.print(`${name}: started`);
      }
    } catch (error) {
      // it is rolled back, whatever became of its start
      if (json) out.json({ schema: 1, containers: [done], error: describeError(error) });
      throw error;
    }
    if (json) out.json({ schema: 1, containers: [done] });
  });
}
