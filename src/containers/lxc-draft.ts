import { join } from "node:path";
import { UserError } from "../host/errors.ts";
import type { Host, HostView } from "../host/host.ts";
import { claimName, discard } from "../pool/claims.ts";
import { linkForLxc, LXC_PATH, lxcLink } from "./lxc-link.ts";

/**
 * What lxc-create has made of a container before it runs the script of a
 * template (`__lxcapi_create` in LXC's lxccontainer.c): a configuration, an
 * empty root file system, and `partial`, which says that the rest is to come.
 */
const DRAFT = ["config", "partial", "rootfs"];

/** @throws {UserError} when LXC's folder of a container is not what lxc-create leaves to the script of a template */
export async function requireDraft(host: HostView, name: string): Promise<void> {
  const folder = lxcLink(name);
  const names = await host.list(folder);
  const inside = await host.list(join(folder, "rootfs"));
  if (names?.join() === DRAFT.join() && inside?.length === 0) return;
  throw new UserError(`${folder} is not what lxc-create leaves to the script of a template`, {
    hint: `lxc-create -t debian-base -n ${name}   # without -B: our containers lie in the pool`,
  });
}

/**
 * lxc-create removes `partial` when the script has ended. A link to nowhere it
 * can remove as well; and should it be killed before, nobody takes the
 * container for one that is still being made (`ongoing_create` there).
 */
export async function leavePartial(host: Host, folder: string): Promise<void> {
  await host.makeLink("nowhere", join(folder, "partial"));
}

/** Puts the link to our container in the place of lxc-create's folder. */
export async function replaceDraft(host: Host, name: string): Promise<void> {
  const gone = join(LXC_PATH, await claimName(host, "gone", name));
  await host.rename(lxcLink(name), gone);
  try {
    await linkForLxc(host, name);
  } catch (error) {
    // lxc-create clears it away
    await host.rename(gone, lxcLink(name));
    throw error;
  }
  await discard(host, gone);
}
