// Mints a token, then many, prints the details of an invalid request, and sets token parameters.
//
//     npm ci
//     node main.js 127.0.0.1:50051 1000 room-1
//
// The server may be a Unix socket, such as unix:/run/grantmint/api.sock. If GRANTMINT_CA,
// GRANTMINT_CERT and GRANTMINT_KEY name PEM files, it uses TLS with a client certificate. If
// GRANTMINT_TOKEN_FILE is set, it sends the bearer token in that file.
"use strict";

const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const PROTOS = protoLoader.loadSync(["grantmint/v1/token_service.proto", "details.proto"], {
  includeDirs: [join(__dirname, "../../proto"), __dirname],
  keepCase: true,
  longs: Number,
});
const { TokenService } = grpc.loadPackageDefinition(PROTOS).grantmint.v1;

const TOKEN_FILE = process.env.GRANTMINT_TOKEN_FILE;

// Each call reads the file, since the token is replaced before it expires.
const BEARER = grpc.credentials.createFromMetadataGenerator((_, done) => {
  const token = readFileSync(TOKEN_FILE, "utf8").trim();
  // The library's own error would contain the token.
  if (!/^[!-~]+$/.test(token)) throw new Error(`${TOKEN_FILE} contains no token`);
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  done(null, metadata);
});

/** Adds the token to each call. */
function sendToken(options, next) {
  return new grpc.InterceptingCall(next({ ...options, credentials: BEARER }));
}

const OPTIONS = {
  interceptors: TOKEN_FILE ? [sendToken] : [],
  // The library retries transient failures after the delay that the server sets.
  "grpc.service_config": readFileSync(join(__dirname, "../service_config.json"), "utf8"),
  // Without pings, only failing calls notice a silently lost connection.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
};

const ENDS_EARLY = [grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED];
const PATIENCE = 60_000; // milliseconds without a token

/** Tokens for prefix0, prefix1 and so on, minted with as many calls as needed. */
async function* mintMany(tokens, prefix, count) {
  let startIndex = 0;
  let progress = Date.now();
  while (true) {
    const request = { identity_series: { prefix, count }, start_index: startIndex };
    const call = tokens.MintTokens(request, { deadline: Date.now() + 60_000 });
    try {
      for await (const chunk of call) {
        yield* chunk.tokens;
        // Counted here, since an error's resume_index counts the tokens sent.
        startIndex += chunk.tokens.length;
        progress = Date.now();
      }
      return;
    } catch (error) {
      if (!ENDS_EARLY.includes(error.code) || Date.now() - progress > PATIENCE) throw error;
      console.error(`resuming at ${startIndex} after ${explain(error)}`);
      await sleep(retryDelay(error) || 1_000);
    }
  }
}

/** The error's detail of this kind, or an empty one. */
function detail(error, kind) {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  const { details = [] } = PROTOS["google.rpc.Status"].deserialize(packed ?? Buffer.alloc(0));
  const found = details.find((any) => any.type_url.endsWith(`/google.rpc.${kind}`));
  return PROTOS[`google.rpc.${kind}`].deserialize(found?.value ?? Buffer.alloc(0));
}

/** The retry delay in milliseconds that the server sets, or else 0. */
function retryDelay(error) {
  const { seconds = 0, nanos = 0 } = detail(error, "RetryInfo").retry_delay ?? {};
  return seconds * 1_000 + nanos / 1_000_000;
}

/** The error's reason, message, invalid fields and retry delay. */
function explain(error) {
  const reason = detail(error, "ErrorInfo").reason ?? grpc.status[error.code];
  const bad = detail(error, "BadRequest").field_violations ?? [];
  const lines = [`${reason}: ${error.details}`];
  lines.push(...bad.map(({ field, description }) => `${field}: ${description}`));
  const delay = retryDelay(error);
  if (delay) lines.push(`retry in ${(delay / 1_000).toFixed(1)} s`);
  return lines.join("; ");
}

/** Options of a token for a room, with parameters that the profile opens to calls. */
function optionsFor(room) {
  const fields = { name: { stringValue: "Alice" }, can_publish: { boolValue: false } };
  return { profile: "room", resource: room, params: { fields } };
}

/** TLS with a client certificate if the environment names files for it, else plain text. */
function credentials(server) {
  if (server.startsWith("unix:")) return grpc.credentials.createInsecure();
  const [ca, key, cert] = ["CA", "KEY", "CERT"].map((name) => {
    const file = process.env[`GRANTMINT_${name}`];
    return file ? readFileSync(file) : null;
  });
  if (ca) return grpc.credentials.createSsl(ca, key, cert);
  if (TOKEN_FILE && !/^(localhost|127\.[\d.]+|\[::1\]):\d+$/.test(server)) {
    throw new Error("refusing to send a token to another machine in plain text: set GRANTMINT_CA");
  }
  return grpc.credentials.createInsecure();
}

async function main(server, count, room) {
  // One client, and so one channel, for the lifetime of the process.
  const tokens = new TokenService(server, credentials(server), OPTIONS);
  const mint = promisify(tokens.MintToken).bind(tokens);
  const { token } = await mint({ identity: "alice" }, { deadline: Date.now() + 10_000 });
  console.log("alice", token);

  let index = 0;
  for await (const token of mintMany(tokens, "viewer-", Number(count))) {
    console.log(`viewer-${index++}`, token);
  }
  await mint({ identity: "" }, { deadline: Date.now() + 10_000 }).catch((error) => {
    console.log(explain(error));
  });
  if (room) {
    const request = { identity: "alice", options: optionsFor(room) };
    const { token } = await mint(request, { deadline: Date.now() + 10_000 });
    console.log("alice", token);
  }
  tokens.close();
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.metadata ? explain(error) : error);
  process.exit(1);
});
