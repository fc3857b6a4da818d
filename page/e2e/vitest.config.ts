import { defineConfig } from "vitest/config";

// One browser and one server, so one test at a time. tests/live/test_page.py starts both.
export default defineConfig({
  test: { include: ["e2e/**/*.e2e.ts"], fileParallelism: false, testTimeout: 30_000, hookTimeout: 30_000, bail: 5, reporters: ["verbose"] },
});
