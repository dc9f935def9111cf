// npm --prefix app/web/graphiql/source run build    (Node.js 20.19 or newer)
//
// Builds ../index.html and ../assets reproducibly, and ../SHA256SUMS with the checksums of the sources and built files.

import { createHash } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const SOURCE = dirname(fileURLToPath(import.meta.url));
const BUILT = resolve(SOURCE, "..");
const BUILDING = resolve(SOURCE, "node_modules/.built");

// File names contain a hash of the content, so that browsers may cache the files for ever: app/http/web_pages.py
// recognizes such names by their 12 hexadecimal digits.
const fileNames = {
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
    outDir: BUILDING,
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    target: "es2022",
    chunkSizeWarningLimit: 5000,
    license: { fileName: "assets/licenses.md" },
    rolldownOptions: {
      output: fileNames,
      // The directive "use client" has no meaning without server-side rendering.
      onLog: (level, log, handle) => log.code === "MODULE_LEVEL_DIRECTIVE" || handle(level, log),
    },
  },
  worker: { format: "es", rolldownOptions: { output: fileNames } },
  experimental: {
    // The page may have any path behind a proxy, so URLs are relative: /graphql loads ./assets/graphiql/…
    renderBuiltUrl: (name, { hostType }) => (hostType === "html" ? `./assets/graphiql/${name}` : { relative: true }),
  },
  plugins: [
    {
      // GraphiQL takes the labels of its icons from the names of functions, which the minifier would shorten.
      name: "icons-keep-their-names",
      transform(code, id) {
        const [, name] = (/@graphiql.react.dist.icons./.test(id) && code.match(/^var (Svg\w+) = \(/m)) || [];
        return name && { code: `${code}\n;Object.defineProperty(${name}, "name", { value: "${name}" });`, map: null };
      },
    },
    {
      name: "replace-assets-and-write-checksums",
      closeBundle() {
        rmSync(resolve(BUILT, "assets"), { recursive: true, force: true });
        cpSync(BUILDING, BUILT, { recursive: true });
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
