import * as z from "zod";
import { MOST_MIB } from "./limits.ts";
import { NETWORKS, TEMPLATE_NAME } from "./names.ts";

const templateName = z.string().regex(TEMPLATE_NAME, "a template name: a-z, 0-9 and hyphens, at most 40 characters");

const size = z
  .string()
  .regex(/^[1-9][0-9]*[MGT]$/, "a size such as 512M, 20G or 1T")
  .describe("a number followed by M, G or T (powers of 1024)");

const mirror = z.string().regex(/^(auto|https?:\/\/[\w.:-]+(\/[\w./~-]*)?)$/, '"auto" or an http(s) address');

/** Everything an admin can set in /etc/opdbus/opdbus.toml and its drop-ins. */
export const settingsSchema = z.strictObject({
  pool: z
    .strictObject({
      size: size.optional(),
      device: z
        .string()
        .regex(/^\/dev(\/\w[\w.:-]*)+$/, "a device such as /dev/sdb")
        .optional(),
    })
    .refine((pool) => !(pool.size && pool.device), "either size or device, not both")
    .prefault({}),
  templates: z
    .strictObject({
      install: z.array(templateName).default(["debian-base"]),
      mirror: mirror.default("auto"),
      security_mirror: mirror.default("auto"),
      ubuntu_mirror: mirror.default("auto"),
      ubuntu_security_mirror: mirror.default("auto"),
      keep: z.int().min(1).max(100).default(2),
    })
    .prefault({}),
  container: z
    .strictObject({
      defaults: z
        .strictObject({
          template: templateName.default("debian-base"),
          network: z.enum(NETWORKS).optional(),
          cores: z.int().min(1).max(1024).default(2),
          memory_mib: z.int().min(16).max(MOST_MIB).default(2048),
          swap_mib: z.int().min(0).max(MOST_MIB).default(512),
        })
        .prefault({}),
      limits: z.enum(["enforce", "best-effort"]).default("enforce"),
    })
    .prefault({}),
});

/** Checked settings, with the defaults filled in. */
export type Settings = z.output<typeof settingsSchema>;

/** Where templates' packages come from. */
export function mirrorsIn({ templates }: Settings) {
  return {
    mirror: templates.mirror,
    securityMirror: templates.security_mirror,
    ubuntuMirror: templates.ubuntu_mirror,
    ubuntuSecurityMirror: templates.ubuntu_security_mirror,
  };
}

/** Bytes of a size such as `20G`. */
export function sizeBytes(text: string): number {
  const unit = { M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }[text.at(-1) ?? ""];
  if (unit === undefined) throw new Error(`not a size: ${text}`);
  return Number(text.slice(0, -1)) * unit;
}
