// Prints a file of Inkpot, and what is appended to it from then on.
//
//     node tail.js ENDPOINT PATH      e.g. 127.0.0.1:7411 logs/app.log
import { connect, pauseOrExit, waitForReady } from './connection.js';

const [endpoint, path] = process.argv.slice(2);
const { files } = connect(endpoint);
let offset = 0;
for (;;) {
  try {
    for await (const piece of files.Read({ path, offset, follow: true }, waitForReady)) {
      process.stdout.write(piece.data);
      offset = piece.offset + piece.data.length; // after an error it goes on from here
    }
  } catch (error) {
    await pauseOrExit(error);
  }
}
