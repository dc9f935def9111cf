// npm --prefix app/web/graphiql/source run build    (Node.js 20.19 or newer)
//
// Makes ../index.html and ../assets, the same bytes each time, and ../SHA256SUMS of what they were made from.

import { createHash } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const SOURCE = dirname(fileURLToPath(import.meta.url));
const BUILT = resolve(SOURCE, "..");
const MAKING = resolve(SOURCE, "node_modules/.built");

// Names that change with what is in them are kept by browsers for good: app/pages.py knows them by 12 hex digits.
const named = {
  hashCharacters: "hex",
  entryFileNames: "assets/[name]-[hash:12].js",
  chunkFileNames: "assets/[name]-[hash:12].js",
  assetFileNames: "assets/[name]-[hash:12][extname]",
};

export default defineConfig({
  root: SOURCE,
  base: "./",
  publicDir: false,
  build: {
    outDir: MAKING,
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    target: "es2022",
    chunkSizeWarningLimit: 5000,
    license: { fileName: "assets/licenses.md" },
    rolldownOptions: {
      output: named,
      // "use client" says nothing to a page that has no server.
      onLog: (level, log, handle) => log.code === "MODULE_LEVEL_DIRECTIVE" || handle(level, log),
    },
  },
  worker: { format: "es", rolldownOptions: { output: named } },
  experimental: {
    // The page is at /graphql, or wherever a proxy puts it; its files are below what it is beside.
    renderBuiltUrl: (name, { hostType }) => (hostType === "html" ? `./assets/graphiql/${name}` : { relative: true }),
  },
  plugins: [
    {
      // GraphiQL makes its icons' labels of the names of functions, which are shortened.
      name: "icons-keep-their-names",
      transform(code, id) {
        const [, name] = (/@graphiql.react.dist.icons./.test(id) && code.match(/^var (Svg\w+) = \(/m)) || [];
        return name && { code: `${code}\n;Object.defineProperty(${name}, "name", { value: "${name}" });`, map: null };
      },
    },
    {
      name: "only-what-was-built",
      closeBundle() {
        rmSync(resolve(BUILT, "assets"), { recursive: true, force: true });
        cpSync(MAKING, BUILT, { recursive: true });
        const sum = (path) => createHash("sha256").update(readFileSync(resolve(BUILT, path))).digest("hex");
        const paths = ["", "assets/", "source/", "source/src/"].flatMap(filesIn);
        writeFileSync(resolve(BUILT, "SHA256SUMS"), paths.map((path) => `${sum(path)}  ${path}\n`).join(""));
      },
    },
  ],
});

function filesIn(folder) {
  const files = readdirSync(resolve(BUILT, folder), { withFileTypes: true }).filter((each) => each.isFile());
  return files.map((each) => folder + each.name).filter((path) => !/^SHA256SUMS$|\/\.|^\./.test(path)).sort();
}
