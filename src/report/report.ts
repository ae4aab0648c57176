/** What work has to say while it runs; one renderer decides how it looks. */
export type ReportEvent =
  | { readonly kind: "say"; readonly text: string }
  | { readonly kind: "warn"; readonly text: string }
  | {
      readonly kind: "progress";
      readonly task: string;
      /** 0 to 1, where it is known. */
      readonly fraction?: number;
      readonly detail?: string;
    };

/** Takes what work has to say. */
export type Report = (event: ReportEvent) => void;
