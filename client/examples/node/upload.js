// Uploads a local file to Inkpot, where it appears as a whole: before the end nobody sees any of it. However often this
// program or the server dies, it goes on where it was.
//
//     node upload.js ENDPOINT PATH PRODUCER FILE      e.g. 127.0.0.1:7411 exports/july.csv export-7 july.csv
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { connect, pauseOrExit, waitForReady } from './connection.js';

const [endpoint, path, producer, name] = process.argv.slice(2);
const file = await open(name);
const { writes } = connect(endpoint);

async function* chunksAfter({ lastSeq, nextOffset, limits }) {
  let position = nextOffset;
  for (let seq = lastSeq + 1; ; seq++) {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(limits.maxRecordBytes), position });
    if (bytesRead === 0) break;
    position += bytesRead;
    yield { append: { channel: 1, seq, payload: { data: buffer.subarray(0, bytesRead) } } };
  }
  // Of an upload that is published already this asks only whether it is.
  yield { finish: { channel: 1, action: 'FINISH_ACTION_COMMIT', size: (await file.stat()).size } };
}

// One session: sends what the server does not have yet. Returns when it is published, throws why it ended early.
async function upload() {
  const session = writes.Write(waitForReady);
  // The producer is the name of the upload, and with its epoch that of the content: a file that has changed is another
  // upload, and needs another producer. MODE_REPLACE would take the place of a file that is there already.
  session.write({ open: { channel: 1, path, mode: 'MODE_CREATE', producerId: producer, producerEpoch: 1 } });
  for await (const { frame, opened, ack, nack, finished } of session) {
    if (frame === 'opened') {
      console.log(`opened at byte ${opened.nextOffset}`);
      Readable.from(chunksAfter(opened)).pipe(session); // no faster than the server reads
    } else if (frame === 'ack') { // kept from now on; cumulative
      console.log(`acked to byte ${ack.endOffset}, ${ack.level}`);
    } else if (frame === 'nack') {
      session.cancel();
      throw nack.status;
    } else if (frame === 'finished') {
      console.log(`published ${finished.size} bytes`);
    }
  }
}

let done = false;
while (!done) done = await upload().then(() => true, pauseOrExit);
await file.close();
