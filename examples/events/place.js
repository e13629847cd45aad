// Ask for a placement over NATS, and follow it until it is ready: docs/publish.md. Needs `npm install nats@2`.
const { connect, createInbox, nkeyAuthenticator } = require("nats");
const { randomUUID } = require("crypto");
const { readFileSync } = require("fs");

const env = process.env;
const type = (what) => `io.moorage.placement.${what}.v1`;
// A name as one token of a subject: every byte but A-Za-z0-9_- is written =XX.
const token = (name) => Buffer.from(name).toString("latin1").replace(/[^A-Za-z0-9_-]/g,
  (byte) => "=" + byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")) || "=";

(async () => {
  const seed = env.MOORAGE_NATS_NKEY && new Uint8Array(readFileSync(env.MOORAGE_NATS_NKEY)).slice(0, 58);
  const login = seed ? { authenticator: nkeyAuthenticator(seed) } : {};
  const connection = await connect({ servers: env.MOORAGE_NATS_URL, ...login });
  const api = { apiPrefix: env.MOORAGE_NATS_API_PREFIX ?? "$JS.API", checkAPI: false };
  const stream = connection.jetstream(api), manager = await connection.jetstreamManager(api);
  const inbox = createInbox();
  const answers = connection.subscribe(inbox, { max: 1, timeout: 30000 });
  // Who asks again with the same source and id asks for the same, and it is done once.
  const asked = { specversion: "1.0", id: randomUUID(), source: "/examples/javascript", type: type("place") };
  const data = JSON.parse(readFileSync(`${__dirname}/hello.json`, "utf8"));
  const subject = `moorage.requests.${token(env.MOORAGE_WORKSPACE)}.${token(env.MOORAGE_USER)}.place`;
  await stream.publish(subject, JSON.stringify({ ...asked, replyto: inbox, data }));
  for await (const message of answers) {
    const answer = message.json();
    console.log(answer.type, answer.data.message ?? "");
    if (answer.type !== type("accepted")) break;
    const reader = { name: randomUUID(), filter_subject: answer.data.events, ack_policy: "none" };
    const events = stream.consumers.getPullConsumerFor(await manager.consumers.add("MOORAGE_EVENTS", reader));
    for await (const each of await events.consume()) {
      const event = each.json(), { uid, generation } = answer.data;
      console.log(event.type, event.time ?? "");
      if (event.type === type("ready") && event.data.uid === uid && event.data.generation === generation) break;
    }
  }
  await connection.close();
})();
