import { defineConfig } from "vitest/config";

// One test at a time, since there is one browser and one server, which tests/live/test_page.py starts.
export default defineConfig({
  test: { include: ["e2e/**/*.e2e.ts"], pool: "threads", fileParallelism: false, testTimeout: 120_000, hookTimeout: 60_000, reporters: ["verbose"] },
});
