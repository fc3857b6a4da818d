import { defineConfig } from "vitest/config";

// In one process without isolation, which takes half the time.
export default defineConfig({ test: { include: ["src/**/*.test.ts"], pool: "threads", isolate: false, reporters: ["default"] } });
