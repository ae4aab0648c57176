import { EXIT, UserError } from "../host/errors.ts";

/** The networks of the specification, and none at all. */
export const NETWORKS = ["socket", "mesh", "none"] as const;
/** One of `NETWORKS`. */
export type ContainerNetwork = (typeof NETWORKS)[number];

/** A template's name is a folder in @templates and part of a file name on Proxmox VE. */
export const TEMPLATE_NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/;

/**
 * A container's name is its host name (RFC 1123 label), a folder, and an
 * instance of lxc@.service. A number alone is how Proxmox VE calls its own, in
 * the same /var/lib/lxc.
 */
const CONTAINER_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** A SHA-256 as sha256sum(1) prints it. */
export const SHA256 = /^[0-9a-f]{64}$/;

/** A snapshot's name is a folder below its container's. */
const SNAPSHOT_NAME = /^[A-Za-z0-9]([A-Za-z0-9_-]{0,38}[A-Za-z0-9_])?$/;

/** One line of authorized_keys without options (sshd(8)). */
export const PUBLIC_SSH_KEY = /^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp\d+|sk-[\w@.-]+) [A-Za-z0-9+/=]+( [^\n]*)?$/;

/** @throws {UserError} with exit code 2 when the text cannot name a container */
export function checkContainerName(text: string): string {
  if (CONTAINER_NAME.test(text) && !/^\d+$/.test(text)) return text;
  throw new UserError(`Unable to use ${JSON.stringify(text)} as a container name`, {
    hint: "a name has 1 to 63 of a-z, 0-9 and hyphens, neither starts nor ends with a hyphen, and is not a number alone, like web-01",
    exitCode: EXIT.usage,
  });
}

/** Whether the text can name a version of a template. */
export function isTemplateVersion(text: string): boolean {
  return /^\d{8}T\d{6}Z(\.\d+)?$/.test(text);
}

/** @throws {UserError} with exit code 2 when the text cannot name a snapshot */
export function checkSnapshotName(text: string): string {
  if (SNAPSHOT_NAME.test(text)) return text;
  throw new UserError(`Unable to use ${JSON.stringify(text)} as a snapshot name`, {
    hint: "a name has 1 to 40 letters, digits, hyphens and underscores, and neither starts nor ends with a hyphen, like before-upgrade",
    exitCode: EXIT.usage,
  });
}

/** @throws {UserError} with exit code 2 when the text cannot name a version of a template */
export function checkTemplateVersion(text: string): string {
  if (isTemplateVersion(text)) return text;
  throw new UserError(`Unable to use ${JSON.stringify(text)} as a version`, {
    hint: "a version is a time stamp like 20261123T190000Z; op-dbus template show NAME lists them",
    exitCode: EXIT.usage,
  });
}

/** @throws {UserError} with exit code 2 when the text cannot name a template */
export function checkTemplateName(text: string): string {
  if (TEMPLATE_NAME.test(text)) return text;
  throw new UserError(`Unable to use ${JSON.stringify(text)} as a template name`, {
    hint: "a name has 1 to 40 of a-z, 0-9 and hyphens, and neither starts nor ends with a hyphen, like debian-base",
    exitCode: EXIT.usage,
  });
}
