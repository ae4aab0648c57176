import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/{e2e,vm}/**"],
        },
      },
      {
        // A virtual machine (lab/vm): everything takes some 15 times as long.
        test: {
          name: "vm",
          include: ["test/vm/**/*.test.ts"],
          pool: "forks",
          sequence: { groupOrder: 2 },
          testTimeout: 900_000,
          hookTimeout: 1_200_000,
        },
      },
      {
        // Real nodes (lab/): one file at a time, after the quick tests. Their pool is
        // of processes, so that a node ends with the file that started it.
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          pool: "forks",
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          // what is waited for comes; how soon is the machine's affair
          expect: { poll: { timeout: 30_000 } },
          testTimeout: 300_000,
          hookTimeout: 900_000,
        },
      },
    ],
  },
});
