import { defineConfig } from "vite";

export default defineConfig({
  // Relative, so that the page works under any path of a proxy.
  base: "./",
  build: {
    outDir: "../handler/servers/asgi/static",
    emptyOutDir: true,
    target: "es2022",
    // Inlined files would need `data:` in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
