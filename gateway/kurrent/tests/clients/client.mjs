// The server as the official Node client sees it. Usage: node client.mjs CONNECTION-STRING; prints "ok" at the end.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import {
  BACKWARDS,
  END,
  KurrentDBClient,
  NO_STREAM,
  START,
  STREAM_EXISTS,
  StreamNotFoundError,
  WrongExpectedVersionError,
  binaryEvent,
  excludeSystemEvents,
  jsonEvent,
  streamNameFilter,
} from "@kurrent/kurrentdb-client";

const client = KurrentDBClient.connectionString(process.argv[2]);
const collect = async (stream, count = Infinity) => {
  const events = [];
  if (count === 0) return events;
  for await (const { event } of stream) {
    events.push(event);
    if (events.length >= count) break;
  }
  return events;
};
const happened = (n) => jsonEvent({ type: "node.happened", data: { n } });

// Appending: ids, payloads and metadata come back.
const first = jsonEvent({ id: randomUUID(), type: "node.happened", data: { n: 0 }, metadata: { actor: "node" } });
const written = await client.appendToStream("node-1", [first, happened(1)], { streamState: NO_STREAM });
assert.equal(written.success, true);
assert.equal(written.nextExpectedRevision, 1n);
const bytes = binaryEvent({ type: "node.bytes", data: Uint8Array.from([0, 255, 7]) });
await client.appendToStream("node-1", bytes, { streamState: STREAM_EXISTS });
await client.appendToStream("node-1", happened(3), { streamState: 2n });

// A retry with the same ids writes nothing; another expectation is refused with the revision found.
await client.appendToStream("node-1", [first], { streamState: NO_STREAM });
await assert.rejects(client.appendToStream("node-1", happened(9), { streamState: NO_STREAM }), (error) => {
  assert.ok(error instanceof WrongExpectedVersionError, String(error));
  assert.equal(error.actualState ?? error.actualVersion, 3n);
  return true;
});

// A refused write of the client's one batch call leaves the others alone.
const mixed = await Promise.allSettled([
  client.appendToStream("node-mixed", happened(1), { streamState: NO_STREAM }),
  client.appendToStream("with space", happened(2)),
  client.appendToStream("node-mixed", happened(3), { streamState: 7n }),
  client.appendToStream("node-mixed", happened(4), { streamState: 0n }),
]);
assert.deepEqual(mixed.map(({ status }) => status), ["fulfilled", "rejected", "rejected", "fulfilled"]);
assert.match(String(mixed[1].reason), /stream name/);
assert.ok(mixed[2].reason instanceof WrongExpectedVersionError);

// Reading, both ways.
const events = await collect(client.readStream("node-1"));
assert.deepEqual(events.map((event) => event.revision), [0n, 1n, 2n, 3n]);
assert.equal(events[0].id, first.id);
assert.deepEqual(events[0].data, { n: 0 });
assert.deepEqual(events[0].metadata, { actor: "node" });
assert.equal(events[0].isJson, true);
assert.ok(Math.abs(Date.now() - new Date(events[0].created).getTime()) < 600_000);
assert.equal(events[2].isJson, false);
assert.deepEqual([...events[2].data], [0, 255, 7]);
const newest = await collect(client.readStream("node-1", { direction: BACKWARDS, fromRevision: END, maxCount: 2 }));
assert.deepEqual(newest.map((event) => event.revision), [3n, 2n]);
await assert.rejects(collect(client.readStream("node-none")), StreamNotFoundError);

// A large batch, then the whole log both ways.
const many = Array.from({ length: 1500 }, (_, n) => happened(n));
await client.appendToStream("node-many", many, { streamState: NO_STREAM });
const all = (await collect(client.readAll())).filter((event) => event.streamId.startsWith("node-"));
assert.equal(all.length, 1506);
const last = await collect(client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 3 }));
assert.deepEqual(last.map((event) => event.data.n), [1499, 1498, 1497]);
const fifth = await collect(client.readAll({ fromPosition: all[4].position, maxCount: 1 }));
assert.equal(fifth[0].id, all[4].id);

// Subscriptions: what was, and what comes.
const ofStream = client.subscribeToStream("node-1", { fromRevision: 1n });
const caughtUp = new Promise((resolve) => ofStream.once("caughtUp", resolve));
const following = collect(ofStream, 3);
await caughtUp;
await client.appendToStream("node-1", happened(4));
assert.deepEqual((await following).map((event) => event.revision), [2n, 3n, 4n]);
const filter = streamNameFilter({ prefixes: ["node-1"] });
const ofAll = await collect(client.subscribeToAll({ fromPosition: START, filter }), 5);
assert.deepEqual(ofAll.map((event) => event.revision), [0n, 1n, 2n, 3n, 4n]);
const users = await collect(client.subscribeToAll({ filter: excludeSystemEvents() }), 1507);
assert.equal(users.length, 1507);

// Metadata of streams is kept; nothing is deleted.
await client.setStreamMetadata("node-1", { maxCount: 100 });
assert.equal((await client.getStreamMetadata("node-1")).metadata.maxCount, 100);
await assert.rejects(client.deleteStream("node-1"), (error) => /never deletes|unsupported|UNIMPLEMENTED/i.test(String(error)));

console.log("ok");
process.exit(0);
