// Appends the lines of a text to a file of Inkpot, each exactly once, however often this program or the server dies.
//
//     node append.js ENDPOINT PATH PRODUCER TEXT      e.g. 127.0.0.1:7411 logs/app.log app-7 app.log
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { connect, pauseOrExit, waitForReady } from './connection.js';

const [endpoint, path, producer, text] = process.argv.slice(2);
const lines = readFileSync(text, 'latin1').match(/[^\n]*\n|[^\n]+$/g) ?? []; // latin1: a character per byte
const { writes } = connect(endpoint);

function* appendsAfter(lastSeq) {
  for (let seq = lastSeq + 1; seq <= lines.length; seq++) {
    yield { append: { channel: 1, seq, payload: { data: Buffer.from(lines[seq - 1], 'latin1') } } };
  }
  yield { finish: { channel: 1, action: 'FINISH_ACTION_COMMIT' } };
}

// One session: appends what the file does not have yet. Returns when all is acked, throws why it ended early.
async function append() {
  const session = writes.Write(waitForReady);
  // Line n is seq n, in every life of this program: seqs are counted per epoch, so the epoch stays 1. A later Open with
  // the same epoch takes over from this one; a higher epoch would be for a text that begins anew.
  session.write({ open: { channel: 1, path, producerId: producer, producerEpoch: 1 } });
  for await (const { frame, opened, ack, nack } of session) {
    if (frame === 'opened') {
      console.log(`opened after line ${opened.lastSeq}`);
      Readable.from(appendsAfter(opened.lastSeq)).pipe(session); // no faster than the server reads
    } else if (frame === 'ack') { // cumulative: it covers every line up to this one
      console.log(`acked through line ${ack.throughSeq}: bytes ${ack.firstOffset} to ${ack.endOffset}, ${ack.level}`);
    } else if (frame === 'nack') {
      session.cancel();
      throw nack.status;
    }
  }
}

let done = false;
while (!done) done = await append().then(() => true, pauseOrExit);
