import { AUDIT_DATABASE, RUNTIME } from "../../paths.ts";
import { requirePool } from "../../pool/find-pool.ts";
import { OK, type Step } from "../step.ts";

/** Step 7: the audit database with its genesis row, ready for writing. */
export function auditStep(): Step {
  return {
    id: "audit",
    title: "Initialise the audit database",
    notYet: [],
    async check(host) {
      if ((await host.stat(AUDIT_DATABASE)) === undefined) {
        return { state: "change", changes: [`Create ${AUDIT_DATABASE} with its genesis row`] };
      }
      const { readAuditLog, requireAppendable } = await import("../../audit/audit-log.ts");
      requireAppendable(AUDIT_DATABASE);
      readAuditLog(AUDIT_DATABASE, RUNTIME).close();
      return OK;
    },
    async apply(host) {
      await requirePool(host);
      const { createAuditLog } = await import("../../audit/create-audit-log.ts");
      createAuditLog(AUDIT_DATABASE);
    },
  };
}
