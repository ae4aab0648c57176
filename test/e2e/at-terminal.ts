import type { LabNode } from "../../lab/node.ts";

const LOG = "/root/terminal.log";

/**
 * What a person sees who types a command at a terminal of the node, and
 * answers its questions: each as soon as its words are there.
 */
export function atTerminal(
  node: LabNode,
  command: string,
  ...answers: readonly (readonly [question: string, answer: string])[]
) {
  const typing = answers.map(
    ([question, answer]) =>
      `timeout 60 sh -c 'until grep -qsF "${question}" ${LOG}; do sleep 0.1; done'; echo '${answer}'`,
  );
  const terminal = `script --quiet --flush --return --command '${command}' ${LOG}`;
  return node.run(["sh", "-c", `rm -f ${LOG}; (${typing.join("; ")}; sleep 1) | ${terminal}`]);
}
