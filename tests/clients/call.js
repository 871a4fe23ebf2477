// One call with the clients of the Node example, whose service config is under test. Prints the code it ends with.
import { status } from '@grpc/grpc-js';
import { connect, waitForReady } from './connection.js';

const [endpoint, method] = process.argv.slice(2);
const { writes, files } = connect(endpoint);
const service = method in files ? files : writes;

function call() {
  if (method === 'Read') return service.Read({}, waitForReady).toArray();
  if (method === 'Write') {
    const session = service.Write(waitForReady);
    session.end();
    return session.toArray();
  }
  return new Promise((resolve, reject) => {
    service[method]({}, waitForReady, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

console.log(await call().then(() => 'OK', (error) => status[error.code]));
