// Reads one of our tokens with LiveKit's library.
//
//     node tokens.js KEY TOKEN, the secret in the variable SECRET
"use strict";

const { TokenVerifier } = require("livekit-server-sdk");

const [key, token] = process.argv.slice(2);
const { SECRET: secret } = process.env;

async function main() {
  const wrong = new TokenVerifier(key, secret.split("").reverse().join(""));
  const taken = await wrong.verify(token).then(() => true, () => false);
  if (taken) throw new Error("a wrong secret was accepted");
  const { sub, name, video } = await new TokenVerifier(key, secret).verify(token);
  console.log(JSON.stringify({ sub, name, video }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
