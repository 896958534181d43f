// Compares our tokens with what the vendors' own libraries read and make.
//
//     node video.js < CASES
//
// CASES is a JSON list of {"library", …}; each line of the output is the result of one, as JSON.
"use strict";

const { readFileSync } = require("node:fs");
const { isDeepStrictEqual } = require("node:util");

/** Runs with the clock at a Unix second and one outcome of chance. */
function fixed(seconds, random, run) {
  const { now } = Date;
  const { getTime } = Date.prototype;
  const chance = Math.random;
  Date.now = () => seconds * 1000;
  Date.prototype.getTime = () => seconds * 1000;
  Math.random = () => random;
  try {
    return run();
  } finally {
    Date.now = now;
    Date.prototype.getTime = getTime;
    Math.random = chance;
  }
}

/** A token with one character of its signature changed. */
function changed(token) {
  const at = token.length - 9;
  return token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
}

/** @vonage/jwt: whether it takes the signature. @vonage/video: its own token of the same. */
function vonage({ token, publicKey, privateKey, applicationId, session, now, options }) {
  const { verifySignature } = require("@vonage/jwt");
  const { Video } = require("@vonage/video");
  return fixed(now, 0.5, () => {
    if (verifySignature(changed(token), publicKey)) throw new Error("a changed one was taken");
    const made = new Video({ applicationId, privateKey }).generateClientToken(session, options);
    return { holds: verifySignature(token, publicKey), made };
  });
}

/** opentok: a token of a project, for a session of it. */
function opentok({ apiKey, apiSecret, session, now, form }) {
  const OpenTok = require("opentok");
  const made = () => new OpenTok(apiKey, apiSecret).generateToken(session, {}, form === "T1");
  return { made: fixed(now, 0.5, made) };
}

/** Agora's token for these inputs: by a builder where one takes them. */
function agoraToken({ appId, certificate, services, channel, user, role, life, expire, limits }) {
  const agora = require("agora-token");
  const { AccessToken2, ServiceRtc, ServiceRtm, ServiceChat } = require("agora-token/src/AccessToken2");
  const rtcRole = role === "publisher" ? agora.RtcRole.PUBLISHER : agora.RtcRole.SUBSCRIBER;
  const { RtcTokenBuilder: rtc } = agora;
  const app = [appId, certificate];
  switch (limits ? "limited" : services.join()) {
    case "rtc":
      return typeof user === "number"
        ? rtc.buildTokenWithUid(...app, channel, user, rtcRole, life, expire)
        : rtc.buildTokenWithUserAccount(...app, channel, user, rtcRole, life, expire);
    case "rtm":
      return agora.RtmTokenBuilder.buildToken(...app, user, life);
    case "rtc,rtm":
      if (typeof user === "number") break;
      return rtc.buildTokenWithRtm(...app, channel, user, rtcRole, life, expire);
    case "chat":
      return agora.ChatTokenBuilder.buildUserToken(...app, user, life);
  }
  const token = new AccessToken2(appId, certificate, 0, life);
  // Added in the other order: the library sorts them.
  for (const service of services.slice().reverse()) {
    const made =
      service === "rtc"
        ? new ServiceRtc(channel, user)
        : new (service === "rtm" ? ServiceRtm : ServiceChat)(`${user}`);
    const privileges = service === "rtc" ? rtcPrivileges(role, expire, limits ?? {}) : { 1: life };
    Object.entries(privileges).forEach(([number, end]) => made.add_privilege(Number(number), end));
    token.add_service(made);
  }
  return token.build();
}

function rtcPrivileges(role, expire, limits) {
  const names = role === "publisher" ? ["join", "audio", "video", "data"] : ["join"];
  const given = names.map((name, at) => [at + 1, limits[name] ?? expire]);
  return Object.fromEntries(given.filter(([, end]) => end !== false));
}

/** agora-token: what it reads, and whether its own token of the same reads the same, signature too. */
function agora({ token, build }) {
  const { AccessToken2 } = require("agora-token/src/AccessToken2");
  const parsed = (text) => {
    const read = new AccessToken2("", "", 0, 0);
    if (!read.from_string(text)) throw new Error(`it is not read: ${text}`);
    return read;
  };
  const ours = parsed(token);
  const made = fixed(ours.issueTs, (ours.salt - 0.5) / 99999999, () => agoraToken(build));
  const { issueTs, expire, salt } = ours;
  return { same: isDeepStrictEqual(ours, parsed(made)), issueTs, expire, salt, made };
}

const LIBRARIES = { vonage, opentok, agora };

for (const given of JSON.parse(readFileSync(0, "utf8"))) {
  console.log(JSON.stringify(LIBRARIES[given.library](given)));
}
