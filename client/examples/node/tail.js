// Prints a file of Inkpot, and what is appended to it from then on.
//
//     node tail.js ENDPOINT PATH      e.g. 127.0.0.1:7411 logs/app.log
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { connect, pauseOrExit, waitForReady } from './connection.js';

const [endpoint, path] = process.argv.slice(2);
const { files } = connect(endpoint);
process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(); // nobody reads any more
});
let offset = 0;
for (;;) {
  try {
    for await (const piece of files.Read({ path, offset, follow: true }, waitForReady)) {
      if (!process.stdout.write(piece.data)) await once(process.stdout, 'drain');
      offset = piece.offset + piece.data.length; // after an error it goes on from here
    }
    await setTimeout(250); // the server has ended the read
  } catch (error) {
    await pauseOrExit(error);
  }
}
