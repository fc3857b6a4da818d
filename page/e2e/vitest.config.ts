import { defineConfig } from "vitest/config";

// One browser and one server, so one test at a time. tests/live/test_page.py starts both.
export default defineConfig({
  test: { include: ["e2e/**/*.e2e.ts"], fileParallelism: false, testTimeout: 120_000, hookTimeout: 60_000, reporters: ["verbose"] },
});
